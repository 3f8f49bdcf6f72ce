package payload

import (
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"reflect"

	"github.com/go-json-experiment/json"
)

var null = []byte("null")

// DecodeStrict decodes data into v, which is a *T for the type T that t was made for, and points to a zero value.
// It accepts what the schema of the type accepts (the package documentation lists the exceptions), and else returns an
// *Error. Empty data stand for an absent payload: v stays as it is, unless something is required of T, which is an *Error too.
// A void type takes an absent payload, null and {}. After an error v may have been decoded in part.
// The value does not share memory with data.
func (t *Type) DecodeStrict(data []byte, v any) error { return t.decode(data, v, true) }

// Decode is like DecodeStrict, but lets unknown and missing members pass, so that peers may be of different versions.
// Use it for what was asked for: results and events. A payload absent as a whole is no missing member.
func (t *Type) Decode(data []byte, v any) error { return t.decode(data, v, false) }

func (t *Type) decode(data []byte, v any, strict bool) error {
	if got := reflect.TypeOf(v); got != t.pointer {
		return fmt.Errorf("payload: cannot decode into %v, which is not a %v", got, t.pointer)
	}
	if len(data) == 0 {
		if t.void || t.root.requiresNothing() {
			return nil
		}
		return &Error{Problem: problemAbsent}
	}
	if t.raw {
		return t.decodeRaw(data, v.(*stdjson.RawMessage))
	}
	options := t.tolerant
	if strict {
		options = t.strict
	}
	if err := json.Unmarshal(data, v, options); err != nil {
		if t.lenient {
			return t.explainLenient(data, err, strict)
		}
		return t.explain(err)
	}
	if !t.needsScan(data, strict) {
		return nil
	}
	if fault := check(t.root, data, strict); fault != nil {
		return fault
	}
	return nil
}

func (t *Type) decodeRaw(data []byte, v *stdjson.RawMessage) error {
	if err := Valid(data); err != nil {
		return err
	}
	*v = bytes.Clone(data)
	return nil
}

// needsScan reports whether the decoder may have let something pass.
func (t *Type) needsScan(data []byte, strict bool) bool {
	switch {
	case t.void || !t.root.checked():
		return false
	case strict || t.scanAlways:
		return true
	default:
		return bytes.Contains(data, null)
	}
}
