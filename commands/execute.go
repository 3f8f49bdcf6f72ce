package commands

import (
	"context"
	"encoding/json"

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
	if r.wrapped == nil {
		if v, ok := r.table.Load(c.key); ok {
			if h, ok := v.(*command).typed.(func(context.Context, Req) (Res, error)); ok {
				return executeLocal(ctx, r, v.(*command), h, req)
			}
		}
	}
	return executeEncoded(ctx, r, c, req)
}

// executeLocal runs a local handler without any encoding.
func executeLocal[Req, Res any](ctx context.Context, r *Registry, cmd *command, h func(context.Context, Req) (Res, error), req Req) (res Res, err error) {
	if ctx.Err() != nil {
		return res, fromContext(ctx, cmd.def.ID)
	}
	if err := r.enter(ctx, cmd.def.ID); err != nil {
		return res, err
	}
	defer r.bus.End()
	depth := bus.Depth(ctx)
	if depth > bus.MaxDepth {
		return res, tooDeep(cmd.def.ID)
	}
	res, err = invokeTyped(bus.WithDepth(ctx, depth+1), r, cmd, h, req)
	if err != nil {
		var zero Res
		return zero, localFailure(ctx, cmd.def.ID, err)
	}
	return res, nil
}

func invokeTyped[Req, Res any](ctx context.Context, r *Registry, cmd *command, h func(context.Context, Req) (Res, error), req Req) (res Res, err error) {
	defer r.recovered(cmd, &err)
	return h(ctx, req)
}

// executeEncoded calls a command that is elsewhere, or here behind middleware
// or a schema.
func executeEncoded[Req, Res any](ctx context.Context, r *Registry, c Command[Req, Res], req Req) (res Res, err error) {
	if c.req == nil {
		return res, &Error{Code: InvalidRequest, Message: "execute: the zero Command: use Define"}
	}
	body, err := payload.Encode(&req)
	if err != nil {
		return res, &Error{Code: InvalidRequest, Command: c.def.ID, Message: "the request does not encode: " + err.Error(), Err: err}
	}
	out, err := r.execute(ctx, c.def.ID, body, traits{ttl: c.ttl, idempotent: c.again})
	if err != nil {
		return res, err
	}
	if err := c.res.Decode(out, &res); err != nil {
		var zero Res
		return zero, &Error{Code: Internal, Command: c.def.ID, Message: "the result does not fit: " + err.Error(), Err: err}
	}
	return res, nil
}

// ExecuteRaw is [Execute] with an encoded request and result; nil is absent.
// The request must not be changed afterwards, nor the result: a local
// handler, or a transport, may hold the same bytes.
func (r *Registry) ExecuteRaw(ctx context.Context, id string, req json.RawMessage) (json.RawMessage, error) {
	if req != nil {
		if err := payload.Valid(req); err != nil {
			return nil, &Error{Code: InvalidRequest, Command: id, Message: "invalid request: " + err.Error(), Err: err}
		}
	}
	return r.execute(ctx, id, req, traits{})
}
