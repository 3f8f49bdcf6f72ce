package payload

import (
	"bytes"
	stdjson "encoding/json"
	"reflect"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Encode returns v, or what v points to, which saves a copy, as JSON. It returns nil, which stands for an absent payload,
// for a value of a void type and for an empty json.RawMessage. Another json.RawMessage is checked by Valid and copied byte
// for byte; one inside another value loses its white space. Nil slices and maps are encoded as [] and {}. The error is
// an *Error: a value without a JSON form such as NaN, a string that is not UTF-8, a cycle, a failure of a type's own method.
// The result does not share memory with v.
func Encode(v any) (stdjson.RawMessage, error) {
	switch raw := v.(type) {
	case stdjson.RawMessage:
		return encodeRaw(raw)
	case *stdjson.RawMessage:
		if raw != nil {
			return encodeRaw(*raw)
		}
	}
	if carriesNothing(v) {
		return nil, nil
	}
	data, err := json.Marshal(v, encodeOptions)
	if err != nil && tooStrict(err) {
		data, err = json.Marshal(v, encodeOptions, lenientOptions)
	}
	if err != nil {
		return nil, explain(err, ref{})
	}
	return data, nil
}

func encodeRaw(raw stdjson.RawMessage) (stdjson.RawMessage, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	if err := Valid(raw); err != nil {
		return nil, err
	}
	return bytes.Clone(raw), nil
}

// carriesNothing reports whether v is of a void type, or a pointer to one that is not nil.
func carriesNothing(v any) bool {
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer {
		return t != nil && isVoid(t)
	}
	return isVoid(t.Elem()) && !reflect.ValueOf(v).IsNil()
}

// Valid reports, by an *Error, whether data are anything but one well-formed JSON value: UTF-8, no duplicate names
// within an object, nothing behind it but white space.
func Valid(data []byte) error {
	if jsontext.Value(data).IsValid() {
		return nil
	}
	var v jsontext.Value
	if err := json.Unmarshal(data, &v); err != nil {
		return explain(err, ref{})
	}
	return &Error{Problem: "not well-formed JSON"} // Cannot be: both read by the same rules.
}
