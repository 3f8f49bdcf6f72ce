package payload

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/leatbus/leat/internal/jsonschema"
)

// inPlace lists the keywords whose schemas are applied to the same value as the schema that they stand in.
var inPlace = []string{"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"}

func noLoader(uri *url.URL) (*jsonschema.Schema, error) {
	return nil, errors.New("remote references are refused")
}

// references looks for chains of references that come back to where they began without a step into the value.
// Validation would follow them until the stack overflows, which no recover can catch.
type references struct {
	root    map[string]any
	anchors map[string]map[string]any
	state   map[uintptr]visit // by the address of the schema
}

type visit uint8

const (
	unseen visit = iota
	open
	closed
)

func checkReferences(document any) error {
	root, ok := document.(map[string]any)
	if !ok {
		return nil // true or false
	}
	if err := checkType(root); err != nil {
		return err
	}
	r := &references{root: root, anchors: map[string]map[string]any{}, state: map[uintptr]visit{}}
	if err := r.collect(root, true); err != nil {
		return err
	}
	return r.visitAll(root)
}

// types are the words that the keyword type knows. jsonschema-go takes any, and then nothing fits.
var types = []any{"null", "boolean", "object", "array", "number", "string", "integer"}

// checkType refuses a schema whose own type is none. Below the root a "type" may be data, in a default or const.
func checkType(s map[string]any) error {
	words, ok := s["type"].([]any)
	if !ok {
		words = []any{s["type"]}
	}
	for _, w := range words {
		if name, ok := w.(string); ok && !slices.Contains(types, w) {
			return fmt.Errorf("unknown type %q", name)
		}
	}
	return nil
}

// collect finds the anchors, everywhere: one in a const or an example does no harm.
func (r *references) collect(v any, isRoot bool) error {
	switch v := v.(type) {
	case map[string]any:
		if id, ok := v["$id"].(string); ok && !isRoot && !strings.HasPrefix(id, "#") {
			return fmt.Errorf("$id %q below the root is not supported", id)
		}
		for _, key := range []string{"$anchor", "$dynamicAnchor", "$id"} {
			if name, ok := v[key].(string); ok {
				r.anchors[strings.TrimPrefix(name, "#")] = v
			}
		}
		for _, part := range v {
			if err := r.collect(part, false); err != nil {
				return err
			}
		}
	case []any:
		for _, part := range v {
			if err := r.collect(part, false); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *references) visitAll(v any) error {
	switch v := v.(type) {
	case map[string]any:
		if err := r.visit(v); err != nil {
			return err
		}
		for _, part := range v {
			if err := r.visitAll(part); err != nil {
				return err
			}
		}
	case []any:
		for _, part := range v {
			if err := r.visitAll(part); err != nil {
				return err
			}
		}
	}
	return nil
}

// visit follows what is applied to the same value as s.
func (r *references) visit(s map[string]any) error {
	key := reflect.ValueOf(s).Pointer()
	switch r.state[key] {
	case open:
		return errors.New("references go in a circle")
	case closed:
		return nil
	}
	r.state[key] = open
	for _, next := range r.applied(s) {
		if err := r.visit(next); err != nil {
			return err
		}
	}
	r.state[key] = closed
	return nil
}

func (r *references) applied(s map[string]any) []map[string]any {
	var next []map[string]any
	add := func(v any) {
		if m, ok := v.(map[string]any); ok {
			next = append(next, m)
		}
	}
	for _, keyword := range []string{"$ref", "$dynamicRef"} {
		if target, ok := s[keyword].(string); ok {
			add(r.target(target))
		}
	}
	for _, keyword := range inPlace {
		switch v := s[keyword].(type) {
		case []any:
			for _, part := range v {
				add(part)
			}
		case map[string]any:
			add(v)
			if strings.HasPrefix(keyword, "dependen") {
				for _, part := range v {
					add(part)
				}
			}
		}
	}
	return next
}

// target finds what a reference leads to within the schema, or nil.
func (r *references) target(reference string) any {
	_, fragment, _ := strings.Cut(reference, "#")
	if decoded, err := url.PathUnescape(fragment); err == nil {
		fragment = decoded
	}
	if fragment != "" && fragment[0] != '/' {
		if anchor := r.anchors[fragment]; anchor != nil {
			return anchor
		}
		return nil
	}
	found, _ := lookup(r.root, jsontext.Pointer(fragment))
	return found
}

// lookup follows a JSON pointer through a parsed document.
func lookup(at any, pointer jsontext.Pointer) (any, bool) {
	for token := range pointer.Tokens() {
		switch v := at.(type) {
		case map[string]any:
			next, ok := v[token]
			if !ok {
				return nil, false
			}
			at = next
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v) {
				return nil, false
			}
			at = v[i]
		default:
			return nil, false
		}
	}
	return at, true
}
