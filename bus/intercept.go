package bus

import (
	"context"
	"encoding/json"
	"errors"
)

// Interceptor wraps what code here sends: each call of a command and each emit of an event, from when its caller asks for it
// until the caller gets the result. It runs on the caller's goroutine, and may block.
//
// next sends, with the ctx that it is given: [WithMetadata] and context.WithTimeout work. It returns the error with which the
// call ends; the result goes to the caller without the interceptor, values that need not be encoded included. To try
// again is to call next again, one after the other. An interceptor that returns nil without a successful next fails the call
// with [ErrNotSent]; any other error that it returns is the caller's.
type Interceptor func(ctx context.Context, out Outgoing, next func(context.Context) error) error

// Outgoing is a call or an event that is about to be sent.
type Outgoing struct {
	Type Type   // ExecuteRequest or Event
	Name string // the ID of the command or event

	payload func() json.RawMessage
}

// NewOutgoing describes what a layer is about to send. payload encodes it; it may return nil.
func NewOutgoing(t Type, name string, payload func() json.RawMessage) Outgoing {
	return Outgoing{t, name, payload}
}

// Payload returns the request, or the event's payload, as JSON; nil if there is none, or if it does not encode. It is encoded for
// this, and must not be changed.
func (o Outgoing) Payload() json.RawMessage { return o.payload() }

// ErrNotSent says that an interceptor has reported a success though nothing was sent.
var ErrNotSent = errors.New("an interceptor has ended it without an error, and nothing was sent")

// Intercepts reports whether there are interceptors.
func (b *Bus) Intercepts() bool { return len(b.opts.Interceptors) > 0 }

// Intercept sends through the interceptors, the first one outermost.
func (b *Bus) Intercept(ctx context.Context, out Outgoing, send func(context.Context) error) error {
	sent := false
	err := interceptBy(b.opts.Interceptors, ctx, out, func(ctx context.Context) error {
		err := send(ctx)
		sent = sent || err == nil
		return err
	})
	if err == nil && !sent {
		return ErrNotSent
	}
	return err
}

func interceptBy(chain []Interceptor, ctx context.Context, out Outgoing, send func(context.Context) error) error {
	if len(chain) == 0 {
		return send(ctx)
	}
	return chain[0](ctx, out, func(ctx context.Context) error { return interceptBy(chain[1:], ctx, out, send) })
}
