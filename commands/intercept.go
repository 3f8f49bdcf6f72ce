package commands

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/payload"
)

func executeIntercepted[Req, Res any](ctx context.Context, r *Registry, c Command[Req, Res], req Req) (res Res, err error) {
	encode := func() json.RawMessage {
		if c.req == nil {
			return nil
		}
		in, err := payload.Wrap(c.req, req, true)
		if err != nil {
			return nil
		}
		return in.JSON()
	}
	err = r.intercept(ctx, c.def.ID, encode, func(ctx context.Context) (err error) {
		res, err = execute(ctx, r, c, req)
		return err
	})
	if err != nil {
		var zero Res
		return zero, err
	}
	return res, nil
}

func (r *Registry) executeRawIntercepted(ctx context.Context, id string, req json.RawMessage) (res json.RawMessage, err error) {
	err = r.intercept(ctx, id, func() json.RawMessage { return req }, func(ctx context.Context) (err error) {
		res, err = r.executeRaw(ctx, id, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// intercept makes a call through the interceptors. What they return that is no error of a call becomes one.
func (r *Registry) intercept(ctx context.Context, id string, encode func() json.RawMessage, send func(context.Context) error) (err error) {
	defer r.callEnded(id, &err)
	err = r.bus.Intercept(ctx, bus.NewOutgoing(bus.ExecuteRequest, id, encode), send)
	var of *Error
	switch {
	case err == nil, errors.As(err, &of), ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return err
	}
	return &Error{Code: Internal, Command: id, Message: id + ": not called: " + err.Error(), Err: err, of: called}
}
