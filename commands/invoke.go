package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/payload"
)

// result is what a handler run gave: a body or a fault, and with handler
// middleware the reply as the chain produced it.
type result struct {
	payload.Content
	fault    *bus.Fault
	metadata message.Metadata
	message  *message.Message
}

// serve runs the handler of a request that came over a link.
func (r *Registry) serve(s *serving) result {
	e := &s.Envelope
	if r.wrapped == nil {
		out, err := r.invoke(s, s.cmd, payload.Content{Body: e.Body, Value: e.Value}, s.p.link.Parcels())
		if err != nil {
			return result{fault: faultOf(err)}
		}
		return result{Content: out}
	}
	m := s.Message
	if !s.p.link.Binary() {
		var err error
		if m, err = bus.Binary.Marshal(*e); err != nil {
			return result{fault: faultOf(err)}
		}
	}
	reply, m, err := r.invokeWrapped(s, s.cmd, e.ID, m)
	if err != nil {
		return result{fault: faultOf(err)}
	}
	out := result{Content: payload.Content{Body: reply.Body}, fault: reply.Fault, metadata: reply.Metadata, message: m}
	if f := reply.Fault; f != nil {
		if out.fault = spellable(f); out.fault != f {
			out.message = nil // it says what cannot be said
		}
	}
	return out
}

// invoke runs the handler on the caller's goroutine, without middleware. A
// panic becomes an error.
func (r *Registry) invoke(ctx context.Context, cmd *command, in payload.Content, asIs bool) (out payload.Content, err error) {
	defer r.recovered(cmd, &err)
	return cmd.handler(ctx, in, asIs, nil)
}

// recovered turns a panic into an error, and logs it with its stack, which
// goes no further.
func (r *Registry) recovered(cmd *command, err *error) {
	if v := recover(); v != nil {
		r.panicked(cmd, v, err)
	}
}

func (r *Registry) panicked(cmd *command, v any, err *error) {
	r.stats.panics.Add(1)
	r.log.Error("handler panicked", "command", cmd.def.ID, "panic", v, "stack", string(debug.Stack()))
	*err = &panicError{v}
}

// invocation is the context of a message on its way through the handler
// middleware to the handler.
type invocation struct {
	context.Context
	cmd    *command
	thread string
	ran    atomic.Bool // the handler was called
}

type invocationKey struct{}

// runs notes that the handler is about to be called. A nil invocation is of a call without middleware.
func (i *invocation) runs() {
	if i != nil {
		i.ran.Store(true)
	}
}

// Ran reports whether the command's handler was called for a request. It is for handler middleware, after the rest of the chain
// has returned; ctx is the context of the request's message, and for any other one Ran is false. If the handler was not
// called, validation or other middleware has refused the request.
func Ran(ctx context.Context) bool {
	i, ok := ctx.Value(invocationKey{}).(*invocation)
	return ok && i.ran.Load()
}

func (i *invocation) Value(key any) any {
	if _, ok := key.(invocationKey); ok {
		return i
	}
	return i.Context.Value(key)
}

var (
	errSwallowed = errors.New("handler middleware ended the request without a reply")
	errReplaced  = errors.New("handler middleware replaced the message's context")
)

// invokeWrapped runs the handler inside the middleware. m is the request in
// binary form; the reply is the first message that the chain produces.
func (r *Registry) invokeWrapped(ctx context.Context, cmd *command, thread string, m *message.Message) (reply bus.Envelope, out *message.Message, err error) {
	defer r.recovered(cmd, &err)
	m.SetContext(&invocation{Context: ctx, cmd: cmd, thread: thread})
	produced, err := r.wrapped(m)
	switch {
	case err != nil:
		return reply, nil, err
	case len(produced) == 0:
		return reply, nil, errSwallowed
	}
	reply, err = bus.Binary.Unmarshal(produced[0])
	if err == nil && (reply.Type != bus.ExecuteResponse || reply.Thread != thread) {
		err = fmt.Errorf("a %s in thread %q", reply.Type, reply.Thread)
	}
	if err != nil {
		return reply, nil, fmt.Errorf("handler middleware produced something else than the reply: %w", err)
	}
	return reply, produced[0], nil
}

// innermost is the end of the handler chain: the handler itself.
func (r *Registry) innermost(m *message.Message) ([]*message.Message, error) {
	inv, ok := m.Context().Value(invocationKey{}).(*invocation)
	if !ok {
		return nil, errReplaced
	}
	out, err := inv.cmd.handler(m.Context(), payload.Content{Body: absent(m.Payload)}, false, inv)
	if err != nil {
		return nil, err
	}
	reply, err := bus.Binary.Marshal(bus.Envelope{ID: bus.NewID(), Type: bus.ExecuteResponse, Thread: inv.thread, Body: out.Body})
	if err != nil {
		return nil, err
	}
	return []*message.Message{reply}, nil
}

// absent is the body that a payload stands for: an empty one for none.
func absent(p message.Payload) json.RawMessage {
	if len(p) == 0 {
		return nil
	}
	return json.RawMessage(p)
}
