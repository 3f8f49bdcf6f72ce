package prompt

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// readSchema never fails: what it does not understand stands for any JSON. The registry that
// executes the command judges the request anyway.
func readSchema(raw json.RawMessage) *jsonschema.Schema {
	s := new(jsonschema.Schema)
	if json.Unmarshal(raw, s) != nil {
		return new(jsonschema.Schema)
	}
	return s
}

// fields returns the properties to ask for one by one, the required ones first as they are
// declared; none if the value may be something else than an object, or has no properties.
func fields(s *jsonschema.Schema) []string {
	if !only(s, "object") {
		return nil
	}
	return propertyNames(s)
}

// propertyNames returns the required properties as they are declared, and then the optional ones.
func propertyNames(s *jsonschema.Schema) []string {
	var names []string
	named := make(map[string]bool)
	for _, name := range slices.Concat(s.Required, slices.Sorted(maps.Keys(s.Properties))) {
		if s.Properties[name] != nil && !named[name] {
			names, named[name] = append(names, name), true
		}
	}
	return names
}

func types(s *jsonschema.Schema) []string {
	if s.Type != "" {
		return []string{s.Type}
	}
	return s.Types
}

// only reports whether nothing but that type fits.
func only(s *jsonschema.Schema, typ string) bool {
	return slices.Equal(types(s), []string{typ}) && len(s.Enum) == 0
}

// fits reports whether the text is JSON of one of the types of the schema, and leaves the rest to
// the registry that executes the command.
func fits(s *jsonschema.Schema, text string) bool {
	var value any
	if json.Unmarshal([]byte(text), &value) != nil {
		return false
	}
	r, err := (&jsonschema.Schema{Type: s.Type, Types: s.Types}).Resolve(nil)
	return err != nil || r.Validate(value) == nil
}

// describe words the schema, three levels of it: {a: integer, b?: string}.
func describe(s *jsonschema.Schema) string { return describeTo(3, s) }

func describeTo(depth int, s *jsonschema.Schema) string {
	var words []string
	switch {
	case s == nil:
	case path.Base(s.Ref) != "." && path.Base(s.Ref) != "/":
		words = append(words, path.Base(s.Ref))
	case len(s.Enum) > 0:
		for _, v := range s.Enum {
			words = append(words, string(quote(v)))
		}
	case len(s.AnyOf)+len(s.OneOf) > 0:
		for _, a := range slices.Concat(s.AnyOf, s.OneOf) {
			words = append(words, describeTo(depth, a))
		}
	default:
		for _, typ := range types(s) {
			words = append(words, describeType(depth, s, typ))
		}
	}
	return cmp.Or(strings.Join(words, "|"), "any")
}

func describeType(depth int, s *jsonschema.Schema, typ string) string {
	names := propertyNames(s)
	switch {
	case typ == "array" && s.Items != nil && depth > 0:
		return "[" + describeTo(depth-1, s.Items) + "]"
	case typ == "object" && len(names) > 0 && depth > 0:
		for i, name := range names {
			mark := ": "
			if !slices.Contains(s.Required, name) {
				mark = "?: "
			}
			names[i] = name + mark + describeTo(depth-1, s.Properties[name])
		}
		return "{" + strings.Join(names, ", ") + "}"
	}
	return typ
}

var exampleOf = map[string]string{"array": "[]", "string": `"text"`, "integer": "1", "number": "1", "boolean": "true"}

// example returns a value that may well fit, to show what one looks like.
func example(s *jsonschema.Schema) string {
	switch {
	case len(s.Enum) > 0:
		return string(quote(s.Enum[0]))
	case len(types(s)) == 0:
		return "null"
	case types(s)[0] != "object":
		return cmp.Or(exampleOf[types(s)[0]], "null")
	}
	var members []string
	for _, name := range propertyNames(s) {
		if slices.Contains(s.Required, name) {
			members = append(members, string(quote(name))+":"+example(s.Properties[name]))
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

// quote returns what json.Unmarshal made, or a string, as JSON.
func quote(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // such a value has a JSON form, and a Buffer takes it
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
