package prompt

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSchemaReadsWell(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`{}`:                                        "any",
		`true`:                                      "any",
		`{"type":"integer"}`:                        "integer",
		`{"type":["null","string"]}`:                "null|string",
		`{"enum":["a","b",3]}`:                      `"a"|"b"|3`,
		`{"$ref":"#/$defs/Node"}`:                   "Node",
		`{"type":"array"}`:                          "array",
		`{"type":"object"}`:                         "object",
		`{"type":7,"properties":[]}`:                "any",
		`{"type":"array","items":true}`:             "[any]",
		`{"anyOf":[{"type":"null"},{}]}`:            "null|any",
		`{"type":"object","properties":7}`:          "any",
		`{"type":"object","properties":{"a":null}}`: "object",
		`{"anyOf":[null,{"type":"null"}]}`:          "any|null",
		`null`:                                      "any",
		`{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"array","items":{"type":"number"}}},"required":["z"]}`: "{z: string, a?: [number]}",
	} {
		assert.Equal(t, want, describe(readSchema(json.RawMessage(raw))), raw)
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		schema, line string
		optional     bool
		want, wrong  string
	}{
		{schema: `{"type":"integer"}`, line: " 7 ", want: "7"},
		{schema: `{"type":"integer"}`, line: "123456789012345678901", want: "123456789012345678901"},
		{schema: `{"type":"integer"}`, line: "1.5", wrong: "f: expected integer, as in 1; got 1.5"},
		{schema: `{"type":"integer"}`, line: "1 2", wrong: "f: expected integer, as in 1; got 1 2"},
		{schema: `{"type":"integer"}`, line: "", wrong: "f is required: integer, as in 1"},
		{schema: `{"type":"integer"}`, line: " ", optional: true, want: ""},
		{schema: `{"type":"number"}`, line: "-1.5e3", want: "-1.5e3"},
		{schema: `{"type":"string"}`, line: "Ada <3", want: `"Ada <3"`},
		{schema: `{"type":"string"}`, line: `"Ada\n"`, want: `"Ada\n"`},
		{schema: `{"type":"string"}`, line: `""`, want: `""`},
		{schema: `{"type":"string"}`, line: `"Ada`, wrong: `f: expected string, as in "text"; got "Ada`},
		{schema: `{"type":"string"}`, line: "", wrong: `f is required; type "" for an empty text`},
		{schema: `{"type":"boolean"}`, line: "Yes", want: "true"},
		{schema: `{"type":"boolean"}`, line: "no", want: "false"},
		{schema: `{"type":"boolean"}`, line: "maybe", wrong: "f: expected boolean, as in true; got maybe"},
		{schema: `{"type":["null","integer"]}`, line: "null", want: "null"},
		{schema: `{"type":"array"}`, line: "[1]", want: "[1]"},
		{schema: `{"type":"object"}`, line: "[1]", wrong: "f: expected object, as in {}; got [1]"},
		{schema: `{}`, line: `{"a":1}`, want: `{"a":1}`},
	} {
		got, err := answer("f", readSchema(json.RawMessage(test.schema)), test.line, !test.optional)
		if test.wrong != "" {
			require.EqualError(t, err, test.wrong)
			continue
		}
		require.NoError(t, err, test.line)
		assert.Equal(t, test.want, string(got))
	}
}

// The required fields are asked for in the order of their declaration, and then the optional ones.
func TestOrderOfQuestions(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string][]string{
		`{"type":"object","properties":{"b":{},"z":{},"a":{},"c":{}},"required":["z","a","x","z"]}`: {"z", "a", "b", "c"},
		`{"type":["object","null"],"properties":{"a":{}}}`:                                          nil,
		`{"type":"object"}`: nil,
	} {
		assert.Equal(t, want, fields(readSchema(json.RawMessage(raw))), raw)
	}
}

// Whatever a peer advertises, it can be listed, and an example is JSON.
func FuzzSchema(f *testing.F) {
	f.Add(`{"type":"object","properties":{"a":{"type":["integer","null"]}},"required":["a"]}`)
	f.Add(`{"anyOf":[{"$ref":"#/"},{"enum":[1]}],"items":false}`)
	f.Add(`{"anyOf":[{"$ref":"/"}]}`)
	f.Add(`{"type":"object","properties":{"a":{"enum":[{"b":1}]}}}`)
	f.Fuzz(func(t *testing.T, raw string) {
		s := readSchema(json.RawMessage(raw))
		assert.NotEmpty(t, describe(s))
		assert.NoError(t, checkJSON(example(s)))
		if value, err := answer("f", s, example(s), true); err == nil {
			assert.NoError(t, checkJSON(string(value)))
		}
	})
}
