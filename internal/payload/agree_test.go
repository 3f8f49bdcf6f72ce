package payload_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leatbus/leat/internal/payload"
)

// Random documents for random types: the schema and the strict decode agree about each, and what is decoded can be
// encoded to what both accept. The generator keeps away from the exceptions that the package documents.

var fixed = []reflect.Type{
	reflect.TypeFor[user](), reflect.TypeFor[tree](), reflect.TypeFor[nested](), reflect.TypeFor[dict](), reflect.TypeFor[composed](),
	reflect.TypeFor[chainA](), reflect.TypeFor[*branch](), reflect.TypeFor[sum](),
	reflect.TypeFor[sealed](), reflect.TypeFor[optional](),
}

var scalars = []reflect.Type{
	reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint64](),
	reflect.TypeFor[float64](), reflect.TypeFor[string](), reflect.TypeFor[count](), reflect.TypeFor[time.Duration](),
	reflect.TypeFor[json.Number](), reflect.TypeFor[any](), reflect.TypeFor[json.RawMessage](), reflect.TypeFor[[]byte](), reflect.TypeFor[struct{}](),
}

func drawType(t *rapid.T, depth int) reflect.Type {
	shape := rapid.IntRange(0, 8).Draw(t, "shape")
	if depth == 0 {
		shape = min(shape, 1)
	}
	switch shape {
	case 0:
		return rapid.SampledFrom(scalars).Draw(t, "scalar")
	case 1:
		return rapid.SampledFrom(fixed).Draw(t, "fixed")
	case 2:
		return reflect.PointerTo(drawType(t, depth-1))
	case 3:
		return reflect.SliceOf(drawType(t, depth-1))
	case 4:
		return reflect.ArrayOf(rapid.IntRange(0, 2).Draw(t, "length"), drawType(t, depth-1))
	case 5:
		key := rapid.SampledFrom([]reflect.Type{reflect.TypeFor[string](), reflect.TypeFor[int](), reflect.TypeFor[uint8]()}).Draw(t, "key")
		return reflect.MapOf(key, drawType(t, depth-1))
	}
	var fields []reflect.StructField
	for i := range rapid.IntRange(0, 4).Draw(t, "fields") {
		f := reflect.StructField{Name: "F" + strconv.Itoa(i), Type: drawType(t, depth-1)}
		option := rapid.SampledFrom([]string{"", ",omitempty", ",omitzero", ",string"}).Draw(t, "option")
		scalar := f.Type
		for scalar.Kind() == reflect.Pointer {
			scalar = scalar.Elem()
		}
		if scalar == reflect.TypeFor[json.Number]() && option == ",string" {
			option = ""
		}
		name := rapid.SampledFrom([]string{"", "f" + strconv.Itoa(i), "é-" + strconv.Itoa(i), "a b" + strconv.Itoa(i)}).Draw(t, "name")
		f.Tag = reflect.StructTag(`json:"` + name + option + `"`)
		fields = append(fields, f)
	}
	return reflect.StructOf(fields)
}

// document writes JSON that mostly fits a schema, and now and then does not.
func document(t *rapid.T, root, schema map[string]any, depth int) string {
	if rapid.IntRange(0, 24).Draw(t, "deviate") == 0 {
		if schema["contentEncoding"] != nil {
			return rapid.SampledFrom([]string{`true`, `7`, `[65]`, `{}`}).Draw(t, "other")
		}
		return rapid.SampledFrom([]string{`null`, `true`, `7`, `1.5`, `"x"`, `[]`, `{}`, `[null]`, `{"x":null}`, `"null"`, `"7"`, `-7`, `300`, `"true"`}).Draw(t, "other")
	}
	if ref, ok := schema["$ref"].(string); ok {
		schema = root["$defs"].(map[string]any)[ref[len("#/$defs/"):]].(map[string]any)
	}
	if either, ok := schema["anyOf"].([]any); ok {
		schema = either[rapid.IntRange(0, 1).Draw(t, "either")].(map[string]any)
		return document(t, root, schema, depth)
	}
	switch typeIn(t, schema, depth) {
	case "null":
		return "null"
	case "boolean":
		return rapid.SampledFrom([]string{"true", "false"}).Draw(t, "boolean")
	case "integer":
		return strconv.Itoa(rapid.IntRange(-1, 130).Draw(t, "integer"))
	case "number":
		return rapid.SampledFrom([]string{"0", "-1.5", "1e3", "12E-2", "9007199254740993"}).Draw(t, "number")
	case "string":
		return stringFor(t, schema)
	case "array":
		return arrayFor(t, root, schema, depth)
	case "object":
		return objectFor(t, root, schema, depth)
	default:
		return rapid.SampledFrom([]string{`null`, `[1,{"a":null}]`, `"x"`, `{"b":[]}`, `12`, `9007199254740993`, `[18446744073709551615]`, `123456789012345678901234567890`}).Draw(t, "any")
	}
}

func typeIn(t *rapid.T, schema map[string]any, depth int) string {
	switch typ := schema["type"].(type) {
	case string:
		return typ
	case []any:
		if depth <= 0 {
			return "null"
		}
		return rapid.SampledFrom(typ).Draw(t, "type").(string)
	default:
		return ""
	}
}

func stringFor(t *rapid.T, schema map[string]any) string {
	if schema["contentEncoding"] != nil {
		return rapid.SampledFrom([]string{`""`, `"AQ=="`, `"\u0041QI="`}).Draw(t, "base64")
	}
	if schema["enum"] != nil || schema["pattern"] != nil {
		return rapid.SampledFrom([]string{
			`"true"`, `"false"`, `"\u0074rue"`, `"True"`, `"null"`, `"0"`, `"-0"`, `"12"`, `"-12"`, `"+12"`, `"012"`, `"1.5"`, `"1e3"`, `"0x10"`, `"NaN"`, `" 1"`, `"1 "`,
			`"1_0"`, `"\"x\""`, `"\"\\u0041\\n\""`, `"\"x\"y"`, `"\""`, `""`, `"1."`, `"-"`, `"1e"`, `"\"\u00e9\""`,
		}).Draw(t, "quoted")
	}
	return rapid.SampledFrom([]string{`""`, `"x"`, `"\ud83d\ude00\n"`, `"null"`, `"{"`, `"\\\""`}).Draw(t, "string")
}

func arrayFor(t *rapid.T, root, schema map[string]any, depth int) string {
	n := rapid.IntRange(0, 2).Draw(t, "length")
	if least, ok := schema["minItems"].(float64); ok && rapid.IntRange(0, 9).Draw(t, "fit") > 0 {
		n = int(least)
	}
	out := "["
	for i := range n {
		if i > 0 {
			out += ","
		}
		out += " " + document(t, root, sub(schema["items"]), depth-1)
	}
	return out + "]"
}

func objectFor(t *rapid.T, root, schema map[string]any, depth int) string {
	properties, _ := schema["properties"].(map[string]any)
	required := map[string]bool{}
	list, _ := schema["required"].([]any)
	for _, name := range list {
		required[name.(string)] = true
	}
	out := "{"
	add := func(name, value string) {
		if out != "{" {
			out += ", "
		}
		out += name + ": " + value
	}
	for i := range 8 { // in a random order is not needed: the scan looks names up anyway when one is left out
		for _, name := range []string{"F" + strconv.Itoa(i), "f" + strconv.Itoa(i), "é-" + strconv.Itoa(i), "a b" + strconv.Itoa(i)} {
			if _, ok := properties[name]; ok && (required[name] || rapid.Bool().Draw(t, "present")) && rapid.IntRange(0, 30).Draw(t, "leave out") > 0 {
				add(quoteName(t, name), document(t, root, sub(properties[name]), depth-1))
			}
		}
	}
	for _, name := range []string{"same", "note", "id", "b", "a", "left", "value", "kids", "named", "back", "tree", "comment", "byCity", "old", "home", "age", "name", "zip", "street"} {
		if _, ok := properties[name]; ok && (required[name] || depth > 0 && rapid.Bool().Draw(t, "present")) && rapid.IntRange(0, 30).Draw(t, "leave out") > 0 {
			add(quoteName(t, name), document(t, root, sub(properties[name]), depth-1))
		}
	}
	if more, ok := schema["additionalProperties"].(map[string]any); ok || schema["additionalProperties"] == true {
		for i := range rapid.IntRange(0, 2).Draw(t, "members") {
			name := rapid.SampledFrom([]string{"1", "12", "x", "01", "+1", "null", "-0", "1.5"}).Draw(t, "key")
			if schema["propertyNames"] == nil || i > 0 {
				name += strconv.Itoa(i)
			}
			add(quoteName(t, name), document(t, root, more, depth-1))
		}
	} else if rapid.IntRange(0, 30).Draw(t, "unknown") == 0 {
		add(`"Zip"`, `1`)
	}
	return out + "}"
}

func quoteName(t *rapid.T, name string) string {
	if rapid.IntRange(0, 9).Draw(t, "escape") == 0 {
		return fmt.Sprintf(`"\u%04x%s"`, []rune(name)[0], string([]rune(name)[1:]))
	}
	return strconv.Quote(name)
}

func sub(schema any) map[string]any {
	m, _ := schema.(map[string]any)
	return m
}

func TestSchemaAndStrictDecodeAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		goType := drawType(t, 3)
		p, err := payload.For(goType)
		if err != nil {
			t.Fatalf("%v: %v", goType, err)
		}
		if p.Void() {
			t.Skip("no schema")
		}
		s, err := payload.CompileSchema(p.Schema())
		if err != nil {
			t.Fatalf("%v: %v\n%s", goType, err, p.Schema())
		}
		var root map[string]any
		if err := json.Unmarshal(p.Schema(), &root); err != nil {
			t.Fatal(err)
		}
		for range 8 {
			agreeOn(t, goType, p, s, document(t, root, root, 5))
		}
	})
}

func agreeOn(t *rapid.T, goType reflect.Type, p *payload.Type, s *payload.Schema, doc string) {
	v := reflect.New(goType).Interface()
	bySchema, byDecode := s.Validate(context.Background(), []byte(doc)), p.DecodeStrict([]byte(doc), v)
	if (bySchema == nil) != (byDecode == nil) {
		t.Fatalf("%s\nfor %v\n%s\nschema: %v\ndecode: %v", doc, goType, p.Schema(), bySchema, byDecode)
	}
	if byDecode != nil {
		return
	}
	if err := p.Decode([]byte(doc), reflect.New(goType).Interface()); err != nil {
		t.Fatalf("%s for %v: tolerant decode: %v", doc, goType, err)
	}
	data, err := payload.Encode(v)
	if err != nil {
		t.Fatalf("%s for %v: encode: %v", doc, goType, err)
	}
	if err := s.Validate(context.Background(), data); err != nil {
		t.Fatalf("%s for %v: encoded to %s: schema: %v", doc, goType, data, err)
	}
	if err := p.DecodeStrict(data, reflect.New(goType).Interface()); err != nil {
		t.Fatalf("%s for %v: encoded to %s: %v", doc, goType, data, err)
	}
}

func TestSchemaAndStrictDecodeAgreeOnZeroValues(t *testing.T) {
	t.Parallel()
	for _, goType := range append(append([]reflect.Type{reflect.TypeFor[wide](), reflect.TypeFor[promoting]()}, fixed...), scalars...) {
		p, err := payload.For(goType)
		require.NoError(t, err)
		if p.Void() || goType == reflect.TypeFor[json.RawMessage]() || goType == reflect.TypeFor[composed]() {
			continue // nothing to decode, or the documented exception of a nil embedded pointer
		}
		data, err := payload.Encode(reflect.New(goType).Interface())
		require.NoError(t, err)
		require.NoError(t, p.DecodeStrict(data, reflect.New(goType).Interface()), goType.String())
		require.NoError(t, compiled(t, p).Validate(context.Background(), data), goType.String())
	}
}
