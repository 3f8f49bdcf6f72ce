package payload

import "encoding/json"

// Content is a payload on its way: as JSON, or as a Go value that becomes JSON if something needs it.
type Content struct {
	Body  json.RawMessage
	Value Value // instead of Body; or nil
}

// Value is a payload that is not encoded. It is immutable, and shares no memory that can be changed.
type Value interface {
	Encode() json.RawMessage
	Size() int // a bound of its length
}

// JSON returns the payload's bytes.
func (c Content) JSON() json.RawMessage {
	if c.Value != nil {
		return c.Value.Encode()
	}
	return c.Body
}

// Wrap returns v, of the type that t describes, as content: with asIs set as the value that it is, if Plain says that
// this may be, else encoded.
func Wrap[T any](t *Type, v T, asIs bool) (Content, error) {
	h := &held[T]{v: v}
	if asIs {
		var ok bool
		if h.size, ok = t.Plain(&h.v); ok {
			return Content{Value: h}, nil
		}
	}
	body, err := Encode(&h.v)
	return Content{Body: body}, err
}

// Unwrap returns what c holds: the value, if it was wrapped as a T, else what decode, which gets a *T, makes of the JSON.
func Unwrap[T any](c Content, decode func([]byte, any) error) (T, error) {
	if h, ok := c.Value.(*held[T]); ok {
		return h.v, nil
	}
	return decoded[T](c, decode)
}

// decoded is apart, so that a value that is not decoded need not be on the heap.
func decoded[T any](c Content, decode func([]byte, any) error) (v T, err error) {
	err = decode(c.JSON(), &v)
	return v, err
}

// held is a value that a receiver with the same type takes as it is.
type held[T any] struct {
	v    T
	size int
}

func (h *held[T]) Size() int { return h.size }

func (h *held[T]) Encode() json.RawMessage {
	body, err := Encode(&h.v)
	if err != nil { // Plain has promised
		panic("payload: a plain value does not encode: " + err.Error())
	}
	return body
}
