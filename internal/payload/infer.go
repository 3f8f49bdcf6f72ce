package payload

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	v2 "github.com/go-json-experiment/json"
	"github.com/google/jsonschema-go/jsonschema"
)

// Patterns of what the tag option string puts into a JSON string, and of integer map keys.
const (
	signedPattern   = `^-?(0|[1-9][0-9]*)$`
	unsignedPattern = `^(0|[1-9][0-9]*)$`
	numberPattern   = `^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`
	stringPattern   = `^"([^"\\\x00-\x1f]|\\(["\\/bfnrt]|u[0-9a-fA-F]{4}))*"$`
)

// inference turns shapes into a schema. It says what jsonschema-go's own inference says wherever that is right, and
// goes by the shape where it is not: recursive types, embedded fields, []byte, integer map keys, types with methods,
// and the tag option string.
type inference struct {
	names map[*shape]string // of the definitions: the named types that lie on a cycle
	taken map[string]bool
	open  bool // objects may have other members
}

// infer describes the uses of r in compact JSON. With open set objects may have members that the type does not know.
func infer(r ref, open bool) (json.RawMessage, error) {
	inf := &inference{names: map[*shape]string{}, taken: map[string]bool{}, open: open}
	inf.nameCycles(r.shape, nil, map[*shape]bool{})
	root := inf.define(r.shape)
	if r.null {
		root = nullable(root)
	}
	for s, name := range inf.names {
		if root.Defs == nil {
			root.Defs = map[string]*jsonschema.Schema{}
		}
		root.Defs[name] = inf.define(s)
	}
	if reflect.ValueOf(*root).IsZero() {
		return json.RawMessage("{}"), nil // Says the same as true, and is an object, as peers expect of a schema.
	}
	raw, err := v2.Marshal(root)
	if err != nil {
		return nil, fmt.Errorf("writing the schema: %w", err)
	}
	return raw, nil
}

// nameCycles finds the shapes that lead back to themselves and names them. Each such cycle goes through a named type.
func (inf *inference) nameCycles(s *shape, path []*shape, done map[*shape]bool) {
	if at := slices.Index(path, s); at >= 0 {
		for _, on := range path[at:] {
			if on.typ.Name() != "" {
				inf.name(on)
			}
		}
		return
	}
	if done[s] {
		return
	}
	path = append(path, s)
	for _, next := range s.parts() {
		inf.nameCycles(next.shape, path, done)
	}
	done[s] = true
}

func (s *shape) parts() []ref {
	if s.elem.shape != nil {
		return []ref{s.elem}
	}
	parts := make([]ref, len(s.fields))
	for i, f := range s.fields {
		parts[i] = f.ref
	}
	return parts
}

// name gives a shape a name of its own among the definitions, in characters that need no escape in a reference.
func (inf *inference) name(s *shape) {
	if inf.names[s] != "" {
		return
	}
	base := strings.Map(func(r rune) rune {
		if r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, s.typ.Name())
	name := base
	for n := 2; inf.taken[name]; n++ {
		name = base + strconv.Itoa(n)
	}
	inf.taken[name] = true
	inf.names[s] = name
}

// use describes a part of a type: by a reference if it lies on a cycle.
func (inf *inference) use(r ref) *jsonschema.Schema {
	s := &jsonschema.Schema{}
	if name := inf.names[r.shape]; name != "" {
		s.Ref = "#/$defs/" + name
	} else {
		s = inf.define(r.shape)
	}
	if r.null && !r.shape.null {
		s = nullable(s)
	}
	return s
}

// nullable allows null besides what s allows.
func nullable(s *jsonschema.Schema) *jsonschema.Schema {
	switch {
	case s.Ref != "":
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "null"}, s}}
	case s.Type != "":
		s.Types, s.Type = []string{"null", s.Type}, ""
		if s.Enum != nil {
			s.Enum = append(s.Enum, nil)
		}
	}
	return s
}

// define describes a shape in full, apart from the cycles that it leads to.
func (inf *inference) define(sh *shape) *jsonschema.Schema {
	s := &jsonschema.Schema{}
	switch sh.kind {
	case boolean:
		s.Type = "boolean"
	case integer:
		s.Type = "integer"
		s.Minimum, s.Maximum = bounds(sh.typ.Kind())
	case number:
		s.Type = "number"
	case text:
		s.Type = "string"
	case binary:
		s.Types = []string{"null", "string"}
		s.ContentEncoding = "base64"
	case quoted:
		defineQuoted(s, sh)
	case list:
		s.Type = "array"
		if sh.null {
			s.Type, s.Types = "", []string{"null", "array"}
		}
		s.Items = inf.use(sh.elem)
		if sh.typ.Kind() == reflect.Array {
			s.MinItems, s.MaxItems = jsonschema.Ptr(sh.typ.Len()), jsonschema.Ptr(sh.typ.Len())
		}
	case mapping:
		s.Type = "object"
		s.AdditionalProperties = inf.use(sh.elem)
		switch sh.keys {
		case signedKeys:
			s.PropertyNames = &jsonschema.Schema{Pattern: signedPattern}
		case unsignedKeys:
			s.PropertyNames = &jsonschema.Schema{Pattern: unsignedPattern}
		}
	case object:
		inf.defineObject(s, sh)
	}
	return s
}

func (inf *inference) defineObject(s *jsonschema.Schema, sh *shape) {
	s.Type = "object"
	if !inf.open {
		s.AdditionalProperties = &jsonschema.Schema{Not: &jsonschema.Schema{}} // How jsonschema-go spells false.
	}
	for _, f := range sh.fields {
		if s.Properties == nil {
			s.Properties = map[string]*jsonschema.Schema{}
		}
		p := inf.use(f.ref)
		p.Description = f.description
		s.Properties[f.name] = p
		s.PropertyOrder = append(s.PropertyOrder, f.name)
		if f.required {
			s.Required = append(s.Required, f.name)
		}
	}
}

func defineQuoted(s *jsonschema.Schema, sh *shape) {
	s.Type = "string"
	switch sh.inner {
	case boolean:
		s.Enum = []any{"true", "false"}
	case integer:
		s.Pattern = signedPattern
		if sh.typ.Kind() > signedMax {
			s.Pattern = unsignedPattern
		}
	case number:
		s.Pattern = numberPattern
	case text:
		s.Pattern = stringPattern
	}
}

// bounds returns the least and the greatest integer of a kind. There are none for 64 bits, since float64, which
// schemas count in, has no exact 1<<63-1.
func bounds(k reflect.Kind) (low, high *float64) {
	switch k {
	case reflect.Int8:
		return jsonschema.Ptr(float64(math.MinInt8)), jsonschema.Ptr(float64(math.MaxInt8))
	case reflect.Int16:
		return jsonschema.Ptr(float64(math.MinInt16)), jsonschema.Ptr(float64(math.MaxInt16))
	case reflect.Int32:
		return jsonschema.Ptr(float64(math.MinInt32)), jsonschema.Ptr(float64(math.MaxInt32))
	case reflect.Uint8:
		return jsonschema.Ptr(0.0), jsonschema.Ptr(float64(math.MaxUint8))
	case reflect.Uint16:
		return jsonschema.Ptr(0.0), jsonschema.Ptr(float64(math.MaxUint16))
	case reflect.Uint32:
		return jsonschema.Ptr(0.0), jsonschema.Ptr(float64(math.MaxUint32))
	case reflect.Uint, reflect.Uint64, reflect.Uintptr:
		return jsonschema.Ptr(0.0), nil
	}
	return nil, nil
}
