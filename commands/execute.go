package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/payload"
)

// Execute calls the command: the local handler if there is one, else the
// channel that has the command, else the router.
//
// A local handler runs on the caller's goroutine, with the request as it is:
// nothing is encoded or copied, so neither side may change what the other can
// reach through pointers, slices or maps. A remote call ends with the
// result, with the handler's error, with ctx, or with [ErrTimeout] at the
// command's TTL; when the caller leaves, the handler's ctx is cancelled.
//
// The error is an *Error, or ctx.Err() where ctx was cancelled.
func Execute[Req, Res any](ctx context.Context, r *Registry, c Command[Req, Res], req Req) (Res, error) {
	if r.bus.Intercepts() {
		return executeIntercepted(ctx, r, c, req)
	}
	return execute(ctx, r, c, req)
}

func execute[Req, Res any](ctx context.Context, r *Registry, c Command[Req, Res], req Req) (Res, error) {
	var cmd *command
	if v, ok := r.table.Load(c.key); ok {
		cmd = v.(*command)
		if h, ok := cmd.typed.(func(context.Context, Req) (Res, error)); ok && r.wrapped == nil {
			return executeLocal(ctx, r, cmd, h, req)
		}
	}
	return executeEncoded(ctx, r, c, cmd, req)
}

// executeLocal runs a local handler without any encoding.
func executeLocal[Req, Res any](ctx context.Context, r *Registry, cmd *command, h func(context.Context, Req) (Res, error), req Req) (res Res, err error) {
	defer r.callEnded(cmd.def.ID, &err)
	if ctx.Err() != nil {
		return res, fromContext(ctx, cmd.def.ID)
	}
	depth := bus.Depth(ctx)
	if depth > bus.MaxDepth {
		return res, tooDeep(cmd.def.ID)
	}
	if err := r.enter(depth, cmd.def.ID); err != nil {
		return res, err
	}
	res, err = invokeTyped(bus.WithDepth(ctx, depth+1), r, cmd, h, req)
	if err != nil {
		var zero Res
		return zero, localFailure(ctx, cmd.def.ID, err)
	}
	return res, nil
}

// invokeTyped ends what enter has begun.
func invokeTyped[Req, Res any](ctx context.Context, r *Registry, cmd *command, h func(context.Context, Req) (Res, error), req Req) (res Res, err error) {
	defer r.left(cmd, &err)
	return h(ctx, req)
}

// left is what is to be deferred in a local call: it counts the call out, and turns a panic into an error.
func (r *Registry) left(cmd *command, err *error) {
	r.bus.End()
	if v := recover(); v != nil {
		r.panicked(cmd, v, err)
	}
}

// executeEncoded calls a command that is elsewhere, or here behind middleware
// or a schema.
func executeEncoded[Req, Res any](ctx context.Context, r *Registry, c Command[Req, Res], cmd *command, req Req) (res Res, err error) {
	defer r.callEnded(c.def.ID, &err)
	if c.req == nil {
		return res, &Error{Code: InvalidRequest, Message: "execute: the zero Command: use Define"}
	}
	in, err := payload.Wrap(c.req, req, true)
	if err != nil {
		return res, &Error{Code: InvalidRequest, Command: c.def.ID, Message: "the request does not encode: " + err.Error(), Err: err}
	}
	out, err := r.execute(ctx, c.def.ID, cmd, in, traits{ttl: c.ttl, idempotent: c.again, durable: c.def.Durable})
	if err != nil {
		return res, err
	}
	if res, err = payload.Unwrap[Res](out, c.result()); err != nil {
		var zero Res
		return zero, &Error{Code: Internal, Command: c.def.ID, Message: "the result does not fit: " + err.Error(), Err: err}
	}
	return res, nil
}

// ExecuteRaw is [Execute] with an encoded request and result; nil is absent.
// The request must not be changed afterwards, nor the result: a local
// handler, or a transport, may hold the same bytes.
func (r *Registry) ExecuteRaw(ctx context.Context, id string, req json.RawMessage) (res json.RawMessage, err error) {
	if r.bus.Intercepts() {
		return r.executeRawIntercepted(ctx, id, req)
	}
	return r.executeRaw(ctx, id, req)
}

func (r *Registry) executeRaw(ctx context.Context, id string, req json.RawMessage) (res json.RawMessage, err error) {
	defer r.callEnded(id, &err)
	if req != nil {
		if err := payload.Valid(req); err != nil {
			return nil, &Error{Code: InvalidRequest, Command: id, Message: "invalid request: " + err.Error(), Err: err}
		}
	}
	out, err := r.execute(ctx, id, r.lookup(id), payload.Content{Body: req}, traits{})
	if err != nil {
		return nil, err
	}
	return out.JSON(), nil
}

// callEnded marks the error of a call, or registration, as received. A panic of the caller's own code, such as the
// MarshalJSON of its request or a method of its context, becomes one. To be deferred.
func (r *Registry) callEnded(id string, err *error) {
	received(err)
	if v := recover(); v != nil {
		r.log.Error("panic in a call", "command", id, "panic", v, "stack", string(debug.Stack()))
		*err = &Error{Code: Internal, Command: id, Message: fmt.Sprintf("%s: panic in the caller's code: %v", id, v), of: called}
	}
}
