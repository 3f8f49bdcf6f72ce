package commands

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/payload"
)

// RawHandler executes a command on encoded values. A nil request or result is
// an absent one. The request must not be changed or kept after the return.
type RawHandler func(ctx context.Context, request json.RawMessage) (json.RawMessage, error)

// RegisterRaw registers a command whose request and result are JSON. Where
// def has a request schema, requests are validated against it before h runs; an absent request is taken where null fits.
// Otherwise as [Register].
func (r *Registry) RegisterRaw(ctx context.Context, def bus.Definition, h RawHandler) error {
	if h == nil {
		return fmt.Errorf("register %q: nil handler", def.ID)
	}
	cmd := &command{def: def}
	var schema *payload.Schema
	if def.Schema != nil {
		for name, s := range map[string]json.RawMessage{"request": def.Schema.Request, "response": def.Schema.Response} {
			compiled, err := compile(s)
			if err != nil {
				return &Error{Code: InvalidRequest, Command: def.ID, Message: fmt.Sprintf("register %q: %s schema: %v", def.ID, name, err), Err: err}
			}
			if name == "request" {
				schema = compiled
			}
		}
	}
	cmd.handler = checked(schema, h)
	return r.register(ctx, cmd)
}

// compile returns nil for a schema that says nothing: none, or null.
func compile(schema json.RawMessage) (*payload.Schema, error) {
	if schema == nil || string(bytes.TrimSpace(schema)) == "null" {
		return nil, nil
	}
	return payload.CompileSchema(schema)
}

// checked puts validation before h: the schema where there is one, else that
// the request is JSON at all; and makes sure that the result is.
func checked(schema *payload.Schema, h RawHandler) handler {
	return func(ctx context.Context, in payload.Content, _ bool, inv *invocation) (out payload.Content, err error) {
		req := in.JSON()
		switch {
		case schema != nil:
			err = validate(ctx, schema, req, false)
		case req != nil:
			if err = payload.Valid(req); err != nil {
				err = invalid(err)
			}
		}
		if err != nil {
			return out, err
		}
		inv.runs()
		out.Body, err = h(ctx, req)
		if err == nil && out.Body != nil {
			if verr := payload.Valid(out.Body); verr != nil {
				return payload.Content{}, fmt.Errorf("the handler's result is not JSON: %w", verr)
			}
		}
		return out, err
	}
}

// validate checks a request against a schema. An absent one is as good as null, and, of a command without a request, as {}.
// Where ctx ends first its error is returned; a validation takes long only if the schema makes it.
func validate(ctx context.Context, s *payload.Schema, req json.RawMessage, void bool) error {
	err := s.Validate(ctx, req)
	if len(req) == 0 {
		for _, stand := range []string{"null", "{}"} {
			if (stand == "null" || void) && s.Validate(ctx, []byte(stand)) == nil {
				return nil
			}
		}
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return err
	}
	return invalid(err)
}

func invalid(err error) error {
	return &Error{Code: InvalidRequest, Message: "invalid request: " + err.Error(), Err: err}
}

// Unregister removes a local command, and tells the peers that understand it.
// It reports whether there was one. A run that has begun goes on.
func (r *Registry) Unregister(id string) bool {
	r.mu.Lock()
	cmd := r.lookup(id)
	if cmd == nil || cmd.owner != nil {
		r.mu.Unlock()
		return false
	}
	r.remove(cmd)
	r.spread(id)
	r.mu.Unlock()
	r.converge()
	return true
}

// register installs a local command, with the router's consent where there is
// a router and the command is public.
func (r *Registry) register(ctx context.Context, cmd *command) (err error) {
	id := cmd.def.ID
	defer r.callEnded(id, &err)
	if id == "" {
		return &Error{Code: InvalidRequest, Message: "register: empty command ID"}
	}
	if err := r.tellable(&cmd.def); err != nil { // else peers could never be told
		return &Error{Code: InvalidRequest, Command: id, Message: fmt.Sprintf("register %q: definition: %v", id[:min(len(id), 64)], err), Err: err}
	}
	if err := ctx.Err(); err != nil {
		return fromContext(ctx, id)
	}
	left := ctx.Done() // before anything is reserved: a context is user code
	r.mu.Lock()
	if r.bus.Draining() {
		r.mu.Unlock()
		return closedError(id)
	}
	if old := r.lookup(id); old != nil && !old.shared() || r.reserved[id] != nil {
		r.mu.Unlock()
		return duplicate(id)
	}
	if ch := r.unqueued(&cmd.def); ch != "" {
		r.mu.Unlock()
		return noQueue(id, ch)
	}
	router := r.router.Load()
	if router == nil || router.link.Absent() || isPrivate(id) {
		r.install(cmd)
		r.spread(id)
		r.mu.Unlock()
		r.converge()
		return nil
	}
	res := &reservation{cmd: cmd, done: make(chan error, 1), deadline: time.Now().Add(r.cfg.RequestTTL)}
	r.reserve(res)
	r.mu.Unlock()
	r.converge()
	return r.awaitAck(ctx, left, res)
}

// unqueued returns the ID of an open channel to many processes that keeps no queue for a durable command; empty if there is
// none. r.mu is held.
func (r *Registry) unqueued(def *bus.Definition) string {
	if !def.Durable || isPrivate(def.ID) {
		return ""
	}
	for id, p := range r.peers {
		if p.link.Unqueued() {
			return id
		}
	}
	return ""
}

func noQueue(command, channel string) *Error {
	return &Error{Code: InvalidRequest, Command: command,
		Message: fmt.Sprintf("%s is durable, and the fleet of channel %q has no Queue for it: its broker keeps none, or it was given none", command, channel)}
}

// tellable refuses a definition that cannot be sent.
func (r *Registry) tellable(def *bus.Definition) error {
	body, err := payload.Encode(def)
	if err != nil {
		return err
	}
	if isPrivate(def.ID) {
		return nil
	}
	limit := r.bus.Options().MaxMessageBytes
	e := bus.Envelope{Name: def.ID, Body: body}
	return e.Within(limit - min(listOverhead, limit/2))
}

// awaitAck waits for the router. A caller that leaves takes the registration
// back, here and there.
func (r *Registry) awaitAck(ctx context.Context, left <-chan struct{}, res *reservation) error {
	late := time.NewTimer(time.Until(res.deadline))
	defer late.Stop()
	select {
	case err := <-res.done:
		return err
	case <-left:
		if r.giveUp(res, false) {
			return fromContext(ctx, res.cmd.def.ID)
		}
	case <-late.C:
		if r.giveUp(res, true) {
			return noReply(res.cmd.def.ID)
		}
	}
	return <-res.done
}

// giveUp abandons a registration. It reports false if that is settled already or, with queued set, has been sent: then it
// has a deadline of its own.
func (r *Registry) giveUp(res *reservation, queued bool) bool {
	id := res.cmd.def.ID
	r.mu.Lock()
	given := r.reserved[id] == res
	if router := r.router.Load(); given && queued && router != nil {
		c := router.up.claims[id]
		given = c == nil || c.attempt == nil
	}
	if given {
		r.abandon(res, nil)
	}
	r.mu.Unlock()
	r.converge()
	return given
}

func duplicate(id string) *Error {
	return &Error{Code: DuplicateCommand, Command: id, Message: "command is registered already: " + id}
}

func encodeDefinitions(defs any) json.RawMessage {
	body, err := payload.Encode(defs)
	if err != nil { // schemas were compiled or inferred: they are JSON
		panic("commands: definition does not encode: " + err.Error())
	}
	return body
}
