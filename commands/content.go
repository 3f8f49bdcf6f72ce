package commands

import (
	"context"
	"encoding/json"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/payload"
)

// content is a request or a result on its way: as JSON, or as a Go value that becomes JSON if somebody wants it.
type content struct {
	body  json.RawMessage
	value bus.Value // instead of body; or nil
}

func (c content) json() json.RawMessage {
	if c.value != nil {
		return c.value.Encode()
	}
	return c.body
}

// handler executes a command. With asIs set the result may come as a value.
type handler func(ctx context.Context, request content, asIs bool) (content, error)

// plain is a value that whoever has the same type takes as it is: nobody can change what it holds, so it need not be
// encoded and decoded to be a copy.
type plain[T any] struct {
	v    T
	size int
}

func (p *plain[T]) Size() int { return p.size }

func (p *plain[T]) Encode() json.RawMessage {
	body, err := payload.Encode(&p.v)
	if err != nil { // payload.Type.Plain has promised
		panic("commands: a plain value does not encode: " + err.Error())
	}
	return body
}

// wrap returns v as content: as it is, where that may be and somebody could take it, else encoded.
func wrap[T any](t *payload.Type, v T, asIs bool) (content, error) {
	p := &plain[T]{v: v}
	if asIs {
		var ok bool
		if p.size, ok = t.Plain(&p.v); ok {
			return content{value: p}, nil
		}
	}
	body, err := payload.Encode(&p.v)
	return content{body: body}, err
}

// unwrap returns what c holds. decode is used where it has another type.
func unwrap[T any](c content, decode func([]byte, any) error) (T, error) {
	if p, ok := c.value.(*plain[T]); ok {
		return p.v, nil
	}
	return decoded[T](c, decode)
}

func decoded[T any](c content, decode func([]byte, any) error) (v T, err error) {
	err = decode(c.json(), &v)
	return v, err
}
