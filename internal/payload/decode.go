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
func (t *Type) DecodeStrict(data []byte, v any) error { return t.decode(data, v, passes{}) }

// DecodeTolerant is like DecodeStrict, but lets unknown members pass: peers may be of a later version, and say more. What
// is required has to be there. Use it for results, and for requests that are taken from such peers.
func (t *Type) DecodeTolerant(data []byte, v any) error {
	return t.decode(data, v, passes{unknown: true})
}

// Decode is like DecodeTolerant, but lets missing members pass as well. Use it for events, and for what a schema
// has been asked about. A payload absent as a whole is no missing member.
func (t *Type) Decode(data []byte, v any) error {
	return t.decode(data, v, passes{unknown: true, missing: true})
}

// passes is what a decode lets pass: members that the type does not know, and required ones that are not there.
type passes struct{ unknown, missing bool }

func (t *Type) decode(data []byte, v any, p passes) error {
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
	options := t.strict
	if p.unknown {
		options = t.tolerant
	}
	if err := json.Unmarshal(data, v, options); err != nil {
		if t.lenient {
			return t.explainLenient(data, err, p)
		}
		return t.explain(err)
	}
	if !t.needsScan(data, !p.missing) {
		return nil
	}
	if fault := check(t.root, data, !p.missing); fault != nil {
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
func (t *Type) needsScan(data []byte, whole bool) bool {
	switch {
	case t.void || !t.root.checked():
		return false
	case whole || t.scanAlways:
		return true
	default:
		return bytes.Contains(data, null)
	}
}
