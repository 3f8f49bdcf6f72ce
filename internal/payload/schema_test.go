package payload_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/internal/payload"
)

func TestCompileSchemaRefuses(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		``:                                      `truncated JSON`,
		`7`:                                     `schema`,
		`{"type":"object"`:                      `truncated JSON`,
		`{"type":7}`:                            `type`,
		`{"pattern":"("}`:                       `pattern`,
		`{"properties":{"a":null}}`:             `schema`,
		`{"$ref":"https://example.org/x.json"}`: `remote references are refused`,
		`{"$ref":"other.json"}`:                 `remote references are refused`,
		`{"$ref":"#/$defs/none"}`:               `none`,
		`{"$schema":"http://json-schema.org/draft-04/schema#"}`: `draft-04`,
		`{"$ref":"#"}`:                     `circle`,
		`{"allOf":[{"not":{"$ref":"#"}}]}`: `circle`,
		`{"$defs":{"a":{"anyOf":[{"$ref":"#/$defs/b"}]},"b":{"if":{"$ref":"#/$defs/a"}}}}`: `circle`,
		`{"$defs":{"a":{"$anchor":"x","$dynamicRef":"#x"}}}`:                               `circle`,
		`{"dependentSchemas":{"a":{"$ref":"#"}}}`:                                          `circle`,
		`{"$ref":"#/%24defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}}`:                        `circle`,
		`{"properties":{"a":{"$id":"https://example.org/a","$ref":"#"}}}`:                  `below the root`,
		`{"$REF":"#"}`:             `circle`,
		`{"ANYOF":[{"$Ref":"#"}]}`: `circle`,
		`{"$defs":{"a":{"$anchor":"x"},"b":{"$anchor":"x"}}}`: `anchor "x" is there twice`,
		`{"$ref":"#/allOf/+0","allOf":[{}]}`:                  `reference "#/allOf/+0" is not supported`,
		`{"properties":{"a":{"type":"int"}}}`:                 `unknown type "int"`,
	} {
		_, err := payload.CompileSchema(json.RawMessage(raw))
		assert.ErrorContains(t, err, want, raw)
	}
}

func TestCompileSchemaTakesRecursion(t *testing.T) {
	t.Parallel()
	s, err := payload.CompileSchema(json.RawMessage(
		`{"$id":"https://example.org/tree","type":"object","properties":{"kids":{"items":{"$ref":"#"}},"n":{"$ref":"#n"}},"$defs":{"n":{"$anchor":"n","type":"integer"}}}`))
	require.NoError(t, err)
	assert.NoError(t, s.Validate(context.Background(), []byte(`{"kids":[{"kids":[],"n":1}]}`)))
	assert.EqualError(t, s.Validate(context.Background(), []byte(`{"kids":[{},{"kids":[{"n":"x"}]}]}`)), `field "kids[1].kids[0].n": expected integer, got string`)
}

func TestCompileSchemaTakesReferences(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{
		`{"properties":{"n":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"integer"}}}`,
		`{"properties":{"n":{"$ref":"#/%24defs/n"}},"$defs":{"n":{"type":"integer"}}}`,
		`{"properties":{"n":{"$ref":"#/$defs/a~1b~0"}},"$defs":{"a/b~":{"type":"integer"}}}`,
		`{"properties":{"n":{"$ref":"#n"}},"$defs":{"n":{"$anchor":"n","type":"integer"}}}`,
		`{"properties":{"n":{"$dynamicRef":"#n"}},"$defs":{"n":{"$dynamicAnchor":"n","type":"integer"}}}`,
		`{"$id":"https://example.org/s","properties":{"n":{"$ref":"s#/$defs/n"}},"$defs":{"n":{"type":"integer"}}}`,
		`{"$schema":"http://json-schema.org/draft-07/schema#","properties":{"n":{"$ref":"#n","type":"string"}},"definitions":{"n":{"$id":"#n","type":"integer"}}}`,
		`{"$schema":"http://json-schema.org/draft-07/schema#","properties":{"n":{"items":[{}],"$ref":"#/definitions/n"}},"definitions":{"n":{"type":"integer"}}}`,
	} {
		s, err := payload.CompileSchema(json.RawMessage(schema))
		require.NoError(t, err, schema)
		assert.NoError(t, s.Validate(context.Background(), []byte(`{"n":1}`)), schema)
		assert.EqualError(t, s.Validate(context.Background(), []byte(`{"n":"x"}`)), `field "n": expected integer, got string`, schema)
	}
}

func TestSchemaErrorsDoNotQuoteWhatIsLong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long", 1000)
	for schema, data := range map[string]string{
		`{"type":"integer"}`:           `"` + long + `"`,
		`{"maxLength":3}`:              `"` + long + `"`,
		`{"pattern":"^$"}`:             `"` + long + `"`,
		`{"enum":["a"]}`:               `"` + long + `"`,
		`{"const":1}`:                  `["` + long + `"]`,
		`{"contains":{"type":"null"}}`: `["` + long + `"]`,
		`{"anyOf":[{"type":"integer"},{"type":"boolean"}]}`: `{"a":"` + long + `"}`,
		`{"propertyNames":{"maxLength":1}}`:                 `{"` + long + `":1}`,
	} {
		s, err := payload.CompileSchema(json.RawMessage(schema))
		require.NoError(t, err, schema)
		err = s.Validate(context.Background(), []byte(data))
		require.Error(t, err, schema)
		assert.Less(t, len(err.Error()), 300, schema)
		assert.NotContains(t, err.Error(), strings.Repeat("long", 20), schema)
	}
}

func TestSchemaValidateNamesTheField(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ schema, data, want string }{
		{`{"type":"object"}`, `[]`, `expected object, got array`},
		{`{"type":"string"}`, `1`, `expected string, got number`},
		{`{"type":"integer"}`, `1.5`, `expected integer, got 1.5`},
		{`{"type":"null"}`, `true`, `expected null, got boolean`},
		{`{"type":["null","string","integer"]}`, `true`, `expected string or integer, got boolean`},
		{`{"properties":{"a":{"items":{"properties":{"b":{"type":"string"}}}}}}`, `{"a":[{},{"b":1}]}`, `field "a[1].b": expected string, got number`},
		{`{"required":["x","y"]}`, `{"x":1}`, `missing field "y"`},
		{`{"properties":{"o":{"additionalProperties":false}}}`, `{"o":{"c":1}}`, `unknown field "o.c"`},
		{`{"properties":{"a":{}},"additionalProperties":{"type":"integer"}}`, `{"a":"x","b":1,"c":"x"}`, `field "c": expected integer, got string`},
		{`{"patternProperties":{"^a/":{"minimum":3}}}`, `{"b":1,"a/x":1}`, `field "a/x": 1 is less than 3`},
		{`{"patternProperties":{"^a":{}},"additionalProperties":{"maximum":1.5}}`, `{"a":9,"z":2}`, `field "z": 2 is greater than 1.5`},
		{`{"prefixItems":[{},{"type":"string"}],"items":{"exclusiveMaximum":5}}`, `[9,"x",5]`, `field "[2]": 5 is greater than or equal to 5`},
		{`{"prefixItems":[{},{"type":"string"}]}`, `[9,9]`, `field "[1]": expected string, got number`},
		{`{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"string"}],"additionalItems":{"type":"null"}}`, `["",1]`, `field "[1]": expected null, got number`},
		{`{"allOf":[{"properties":{"a~b/c":{"$ref":"#/$defs/s"}}}],"$defs":{"s":{"maxLength":1}}}`, `{"a~b/c":"xx"}`, `field "a~b/c": maxLength:`},
		{`{"properties":{"a%20 b":{"items":{"type":"string"}}}}`, `{"a%20 b":[1]}`, `field "["a%20 b"][0]": expected string, got number`},
		{`{"propertyNames":{"pattern":"^x"}}`, `{"y":1}`, `pattern: "y"`},
		{`{"properties":{"e":{"enum":["a","b"]}}}`, `{"e":"c"}`, `field "e": enum: c does not equal any of: [a b]`},
		{`{"properties":{"p":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/o"}]}},"$defs":{"o":{"required":["x"]}}}`, `{"p":{}}`, `missing field "p.x"`},
		{`{"properties":{"p":{"anyOf":[{"type":"string"},{"type":"boolean"}]}}}`, `{"p":1}`, `field "p": anyOf:`},
		{`{"unevaluatedProperties":{"type":"string"}}`, `{"u":1}`, `field "u": expected string, got number`},
		{`false`, `1`, `not: validated`},
		{`{}`, `{"a":[1e400]}`, `field "a[0]": 1e400 is out of range`},
		{`{}`, `{"a":1} x`, `after top-level value`},
		{`{}`, ``, `missing payload`},
		{`{}`, strings.Repeat("[", 2000) + strings.Repeat("]", 2000), `nested too deeply`},
	} {
		s, err := payload.CompileSchema(json.RawMessage(tc.schema))
		require.NoError(t, err, tc.schema)
		err = s.Validate(context.Background(), []byte(tc.data))
		var e *payload.Error
		require.ErrorAs(t, err, &e, tc.schema)
		assert.ErrorContains(t, err, tc.want, tc.schema)
		assert.Less(t, len(err.Error()), 1024)
	}
}

func TestSchemaValidateKeepsBigIntegers(t *testing.T) {
	t.Parallel()
	s, err := payload.CompileSchema(json.RawMessage(`{"type":"array","uniqueItems":true,"items":{"type":"integer","maximum":18446744073709551615}}`))
	require.NoError(t, err)
	assert.NoError(t, s.Validate(context.Background(), []byte(`[9007199254740992,9007199254740993,-9223372036854775808,18446744073709551615]`)), "they differ")
	assert.NoError(t, s.Validate(context.Background(), []byte(`[1.0]`)), "an integer to a schema")
	assert.EqualError(t, s.Validate(context.Background(), []byte(`[123456789012345678901234567890]`)), `field "[0]": 1.2345678901234568e+29 is greater than 18446744073709552000`)
	assert.ErrorContains(t, s.Validate(context.Background(), []byte(`[1,1]`)), "uniqueItems")
}

func TestTheIntegersOfEnumAndConstAreExactToo(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ schema, fits, not string }{
		{`{"const":9007199254740993}`, `9007199254740993`, `9007199254740992`},
		{`{"const":{"a":[18446744073709551615]}}`, `{"a":[18446744073709551615]}`, `{"a":[18446744073709551614]}`},
		{`{"enum":[1,9007199254740993]}`, `9007199254740993`, `9007199254740992`},
		{`{"properties":{"a/~b":{"anyOf":[{"enum":[9007199254740993]}]}}}`, `{"a/~b":9007199254740993}`, `{"a/~b":9007199254740992}`},
		{`{"enum":[1,2.5]}`, `1.0`, `2`},
	} {
		s, err := payload.CompileSchema(json.RawMessage(tc.schema))
		require.NoError(t, err, tc.schema)
		assert.NoError(t, s.Validate(context.Background(), []byte(tc.fits)), tc.schema)
		assert.Error(t, s.Validate(context.Background(), []byte(tc.not)), "%s takes %s", tc.schema, tc.not)
	}
}

// TestSchemaBoundsAreExactOrRefused: no bound is silently another one, and multipleOf is a number that something can be a multiple of.
func TestSchemaBoundsAreExactOrRefused(t *testing.T) {
	t.Parallel()
	for schema, refused := range map[string]string{
		`{"minimum":9007199254740993}`:                                "minimum",
		`{"properties":{"a":{"maximum":9223372036854775806}}}`:        "/properties/a",
		`{"exclusiveMinimum":-9007199254740993}`:                      "exclusiveMinimum",
		`{"exclusiveMaximum":18446744073709551614}`:                   "exclusiveMaximum",
		`{"exclusiveMaximum":9223372036854775807}`:                    "exclusiveMaximum",
		`{"multipleOf":9007199254740993}`:                             "multipleOf",
		`{"multipleOf":0}`:                                            "more than 0",
		`{"multipleOf":-1}`:                                           "more than 0",
		`{"minimum":-9223372036854775808,"maximum":9007199254740994}`: "",
		`{"minimum":0,"maximum":9223372036854775807}`:                 "",
		`{"maximum":18446744073709551615,"multipleOf":0.01}`:          "",
		`{"maximum":1e300,"minimum":0.1}`:                             "",
	} {
		_, err := payload.CompileSchema(json.RawMessage(schema))
		if refused == "" {
			assert.NoError(t, err, schema)
			continue
		}
		assert.ErrorContains(t, err, refused, schema)
	}
}
