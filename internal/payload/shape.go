package payload

import (
	"reflect"
	"strconv"
)

// kind is what a Go type is on the wire.
type kind uint8

const (
	anyJSON kind = iota // any JSON value: any, json.RawMessage, types with JSON methods
	boolean
	integer
	number
	text   // a JSON string
	binary // base64 in a JSON string, or null
	quoted // a boolean, integer, number or string as JSON text inside a JSON string: the tag option string
	list
	mapping
	object
)

// shape is what leat knows of a Go type on the wire. Shapes of recursive types form a graph with cycles. The schema
// and the scan are both derived from it, which is why they agree.
type shape struct {
	kind   kind
	typ    reflect.Type // without pointers
	null   bool         // null is a value of the type itself: slices
	elem   ref          // of list and mapping
	keys   keyKind      // of mapping
	inner  kind         // of quoted
	fields []field      // of object, in the order in which they are encoded
	byName map[string]int
	// required counts the fields that must be there. The decoder has refused duplicates when the scan runs, so
	// counting is enough to find that one is missing.
	required int
	deep     bool // there is something to check inside a value
}

// ref is a use of a shape; null says that the use allows null where the shape does not, as a pointer does.
type ref struct {
	*shape
	null bool
}

func (r ref) nullable() bool { return r.null || r.shape.null || r.kind == anyJSON }

// checked reports whether the scan must look at values of the use, because the decoder is more lenient than the schema.
func (r ref) checked() bool { return r.deep || !r.nullable() }

type field struct {
	name        string
	ref         ref
	required    bool
	description string
}

// keyKind says which object names a map takes.
type keyKind uint8

const (
	textKeys keyKind = iota
	signedKeys
	unsignedKeys
)

// expected names the JSON that the shape takes, for errors.
func (s *shape) expected() string {
	switch s.kind {
	case boolean:
		return "boolean"
	case integer:
		return "integer"
	case number:
		return "number"
	case text:
		return "string"
	case binary:
		return "base64 string"
	case quoted:
		return "string with " + quotedContents[s.inner] + " in it"
	case list:
		if s.typ.Kind() == reflect.Array {
			return "array of " + strconv.Itoa(s.typ.Len())
		}
		return "array"
	case mapping, object:
		return "object"
	default:
		return "any value"
	}
}

var quotedContents = map[kind]string{boolean: "a boolean", integer: "an integer", number: "a number", text: "a JSON string"}

// requiresNothing reports whether an absent payload is as good as one that says nothing: no field is required, or null
// or an empty value would do.
func (r ref) requiresNothing() bool {
	switch r.kind {
	case object:
		return r.null || r.required == 0
	case mapping:
		return true
	default:
		return r.nullable()
	}
}

// settleChecks computes deep for all shapes of a type. Cycles make it a fixed point: nothing is deep until found to be.
func settleChecks(shapes []*shape) {
	for changed := true; changed; {
		changed = false
		for _, s := range shapes {
			if !s.deep && s.hasChecks() {
				s.deep, changed = true, true
			}
		}
	}
}

func (s *shape) hasChecks() bool {
	switch s.kind {
	case quoted:
		return true
	case list:
		return s.elem.checked()
	case mapping:
		return s.keys != textKeys || s.elem.checked()
	case object:
		for _, f := range s.fields {
			if f.required || f.ref.checked() {
				return true
			}
		}
	}
	return false
}
