package commands

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/payload"
)

// Void is the request or result of a command that carries none. Any struct
// without fields is void: it is absent on the wire, and absent, null and {}
// are accepted for it.
type Void = struct{}

// Options refines a command. The zero value says nothing more.
type Options struct {
	// TTL bounds how long a remote call waits for the reply. Default: the
	// caller's Config.RequestTTL.
	TTL time.Duration
	// RequestSchema and ResponseSchema are advertised instead of the schemas
	// inferred from the types. Requests are validated against RequestSchema,
	// which decides then which members there may and must be; the type ignores those that it does not know. A request
	// that fits the schema and has a value that the type cannot hold is refused all the same: let
	// the schema allow no more types than that. Results are not validated, and with ResponseSchema may lack what the type requires. Must be JSON Schemas (draft 2020-12 or 7)
	// without remote references, of at most 1 MiB. Of a void command RequestSchema has to take {} or null.
	RequestSchema  json.RawMessage
	ResponseSchema json.RawMessage
	// Tolerant says that requests may have members which the type does not know, at any depth: they are ignored, as those of
	// results always are, and not an invalid request. So callers of a later version, with an optional member more, may be
	// there before their servers; see docs/design.md, "Commands of several versions". It is what the Command says with which the
	// handler is registered that counts, and the schema that is advertised says it. With RequestSchema that alone decides.
	Tolerant bool
	// Idempotent says that executing a request twice does no harm. A fleet then sends a request whose process went
	// away once more, to another one, rather than fail the call. It is what the caller's Command says that counts.
	Idempotent bool
	// Durable says that a request outlives the process which executes it, and the one that made it. In a fleet that
	// has a queue (fleet.Options.Queue) the requests of all callers go through one queue of the command: each is
	// given to one of the processes that serve it, and to another one if that dies before it has answered. A request
	// that is in the queue is executed although its caller has left, or its time is up: a call that ended with ErrTimeout
	// may yet be executed. Without more it is executed at least once; see brokers.PostgresReplies and RedisReplies for
	// exactly one effect, and [WithOnce] for calls that are made again.
	//
	// A registry that executes the command itself does so, as always, on the spot; and so does the peer of a channel
	// that is no fleet, such as a pair: there the option means nothing.
	//
	// Neither the process nor the order of requests can be chosen: a call with [WithKey] is refused there.
	//
	// It is what the Command says with which the handler is registered that counts. A caller's Command that is Durable
	// is refused where no process takes the requests from a queue.
	Durable bool
}

// Command is a command's ID and the types of its request and result: what
// both sides share. Immutable; safe for concurrent use. Make one with [Define].
type Command[Req, Res any] struct {
	def     bus.Definition
	key     any // def.ID, boxed once
	ttl     time.Duration
	again   bool // Options.Idempotent
	loose   bool // Options.Tolerant
	own     bool // there is an Options.ResponseSchema
	req     *payload.Type
	res     *payload.Type
	request *payload.Schema // what Options.RequestSchema says beyond the type; or nil
}

// Define describes a command. IDs are dotted by convention, as in
// "math.add"; one that begins with "_" is private to its registry. The JSON
// Schemas that are advertised are inferred from the types: a struct's fields
// are required unless tagged omitempty or omitzero, unknown ones are refused;
// json.RawMessage and any stand for any JSON; recursive types work. A
// result that lacks a required field is an Internal error of the call; fields that the type does not know are ignored there.
//
// Define is meant for package variables: it panics, naming the command, if
// the ID is empty, the TTL in opts (at most one) is negative, a type has no JSON form, or a schema is not one.
func Define[Req, Res any](id, description string, opts ...Options) Command[Req, Res] {
	c, err := define[Req, Res](id, description, opts)
	if err != nil {
		panic(fmt.Sprintf("commands: define %q: %v", id, err))
	}
	return c
}

func define[Req, Res any](id, description string, opts []Options) (c Command[Req, Res], err error) {
	var o Options
	switch len(opts) {
	case 0:
	case 1:
		o = opts[0]
	default:
		return c, fmt.Errorf("%d options", len(opts))
	}
	for _, schema := range []*json.RawMessage{&o.RequestSchema, &o.ResponseSchema} {
		if string(bytes.TrimSpace(*schema)) == "null" { // nothing is said
			*schema = nil
		}
	}
	if id == "" {
		return c, fmt.Errorf("empty ID")
	}
	if o.TTL < 0 {
		return c, fmt.Errorf("Options.TTL is negative: %v", o.TTL)
	}
	c = Command[Req, Res]{def: bus.Definition{ID: id, Description: description, Durable: o.Durable}, key: id, ttl: o.TTL,
		again: o.Idempotent, loose: o.Tolerant, own: o.ResponseSchema != nil}
	if c.req, err = payload.For(reflect.TypeFor[Req]()); err != nil {
		return c, fmt.Errorf("request: %w", err)
	}
	if c.res, err = payload.For(reflect.TypeFor[Res]()); err != nil {
		return c, fmt.Errorf("result: %w", err)
	}
	if c.request, err = compile(o.RequestSchema); err != nil {
		return c, fmt.Errorf("request schema: %w", err)
	}
	if c.request != nil && c.req.Void() {
		if err := validate(context.Background(), c.request, nil, true); err != nil {
			return c, fmt.Errorf("request schema: it refuses what a void command is called with: %w", err)
		}
	}
	if _, err = compile(o.ResponseSchema); err != nil {
		return c, fmt.Errorf("response schema: %w", err)
	}
	s := bus.Schema{Request: c.req.Schema(), Response: c.res.Schema()}
	if o.Tolerant {
		s.Request = c.req.TolerantSchema()
	}
	if o.RequestSchema != nil {
		s.Request = o.RequestSchema
	}
	if o.ResponseSchema != nil {
		s.Response = o.ResponseSchema
	}
	if s.Request != nil || s.Response != nil {
		c.def.Schema = &s
	}
	return c, nil
}

// ID returns the command's ID.
func (c Command[Req, Res]) ID() string { return c.def.ID }

// Definition returns what is advertised about the command.
func (c Command[Req, Res]) Definition() bus.Definition { return c.def }

// Register makes h execute the command. A public command of a registry with a
// connected router is registered there first: Register waits for the ack, for
// at most RequestTTL, and the command is callable from the ack on. With no channel to the router, or one to another process
// that has not come yet (bus.Link.Absent, as over pairing.Connect), the command is installed at once, and escalated
// when the router is there; a refusal then leaves it local, and is logged and counted (Stats.Conflicts). Over a channel
// without a Heartbeat it is not known whether the router is there: it is waited for.
//
// h runs on the caller's goroutine for local calls, with the request as the
// caller gave it, and in a goroutine of its own for remote ones. Its ctx ends
// when the caller leaves or the link closes. The text of its error crosses the wire;
// see [Error]. A panic is an Internal error of that call.
//
// Errors: [ErrDuplicateCommand], [ErrTimeout], [ErrChannelDisconnected],
// [ErrClosed], ctx.Err(), and [ErrInvalidRequest] for a durable command where the registry has a channel of a fleet without queues. After an error the command is not installed.
func Register[Req, Res any](ctx context.Context, r *Registry, c Command[Req, Res], h func(context.Context, Req) (Res, error)) error {
	if h == nil {
		return fmt.Errorf("register %q: nil handler", c.def.ID)
	}
	if c.req == nil {
		return &Error{Code: InvalidRequest, Message: "register: the zero Command: use Define"}
	}
	cmd := &command{def: c.def, handler: c.encoded(h)}
	if c.request == nil {
		cmd.typed = h
	}
	return r.register(ctx, cmd)
}

// result returns how a result is decoded. Whatever its sender's version adds is ignored; what the type requires has to be there, or
// a member that an older or newer server leaves out would be a zero that was not meant.
func (c Command[Req, Res]) result() func([]byte, any) error {
	if c.own {
		return c.res.Decode
	}
	return c.res.DecodeTolerant
}

// encoded is h behind validation and decoding, in front of encoding.
func (c Command[Req, Res]) encoded(h func(context.Context, Req) (Res, error)) handler {
	return func(ctx context.Context, in payload.Content, asIs bool, inv *invocation) (out payload.Content, err error) {
		decode := c.req.DecodeStrict
		if c.loose {
			decode = c.req.DecodeTolerant
		}
		if c.request != nil {
			in = payload.Content{Body: in.JSON()}
			if err := validate(ctx, c.request, in.Body, c.req.Void()); err != nil {
				return out, err
			}
			decode = c.req.Decode // what is listed decides which members there are
		}
		req, err := payload.Unwrap[Req](in, decode)
		if err != nil {
			return out, invalid(err)
		}
		inv.runs()
		res, err := h(ctx, req)
		if err != nil {
			return out, err
		}
		if out, err = payload.Wrap(c.res, res, asIs); err != nil {
			return out, fmt.Errorf("the handler's result does not encode: %w", err)
		}
		return out, nil
	}
}
