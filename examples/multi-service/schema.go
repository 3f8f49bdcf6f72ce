package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// schema is as much of a JSON Schema as a prompt needs. Its zero value says
// that any JSON will do.
type schema struct {
	Types      oneOrMore         `json:"type"`
	Properties properties        `json:"properties"`
	Required   []string          `json:"required"`
	Items      *schema           `json:"items"`
	Enum       []json.RawMessage `json:"enum"`
	AnyOf      []schema          `json:"anyOf"`
	OneOf      []schema          `json:"oneOf"`
	Ref        string            `json:"$ref"`
}

// property is one field of an object.
type property struct {
	name   string
	schema schema
}

// readSchema never fails: what it does not understand stands for any JSON,
// and whoever executes the command judges the request anyway.
func readSchema(raw json.RawMessage) schema {
	var s schema
	if json.Unmarshal(raw, &s) != nil {
		return schema{}
	}
	return s
}

// fields returns the properties to ask for one by one; none if the value is
// no object, or one with names of its own.
func (s schema) fields() []property {
	if !slices.Equal(s.Types, oneOrMore{"object"}) {
		return nil
	}
	return s.Properties
}

func (s schema) requires(name string) bool { return slices.Contains(s.Required, name) }

// only reports whether nothing but that type fits.
func (s schema) only(typ string) bool {
	return len(s.Types) == 1 && s.Types[0] == typ && len(s.Enum) == 0
}

// String words the schema for a person: {a: integer, b?: string}.
func (s schema) String() string { return s.describe(3) }

// describe goes depth levels down.
func (s schema) describe(depth int) string {
	alternatives := slices.Concat(s.AnyOf, s.OneOf)
	switch name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]; {
	case name != "":
		return name
	case len(s.Enum) > 0:
		return join(s.Enum, func(v json.RawMessage) string { return string(v) })
	case len(alternatives) > 0:
		return join(alternatives, func(a schema) string { return a.describe(depth) })
	case len(s.Types) == 0:
		return "any"
	}
	return join(s.Types, func(t string) string { return s.describeType(t, depth) })
}

func (s schema) describeType(typ string, depth int) string {
	switch {
	case typ == "array" && s.Items != nil && depth > 0:
		return "[" + s.Items.describe(depth-1) + "]"
	case typ == "object" && len(s.Properties) > 0 && depth > 0:
		fields := make([]string, len(s.Properties))
		for i, p := range s.Properties {
			mark := ": "
			if !s.requires(p.name) {
				mark = "?: "
			}
			fields[i] = p.name + mark + p.schema.describe(depth-1)
		}
		return "{" + strings.Join(fields, ", ") + "}"
	case typ == "":
		return "any"
	}
	return typ
}

func join[T any](values []T, word func(T) string) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = word(v)
	}
	return strings.Join(words, "|")
}

// example returns a value that may well fit, to show what one looks like.
func (s schema) example() string {
	switch {
	case len(s.Enum) > 0:
		return string(s.Enum[0])
	case len(s.Types) == 0:
		return "null"
	}
	switch s.Types[0] {
	case "object":
		var fields []string
		for _, p := range s.Properties {
			if s.requires(p.name) {
				fields = append(fields, quote(p.name)+":"+p.schema.example())
			}
		}
		return "{" + strings.Join(fields, ",") + "}"
	case "array":
		return "[]"
	case "string":
		return `"text"`
	case "integer", "number":
		return "1"
	case "boolean":
		return "true"
	}
	return "null"
}

// quote returns the string as JSON.
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string has a JSON form, and a Buffer takes it
	return strings.TrimSuffix(b.String(), "\n")
}
