package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// localCall calls a method of the registry, on a goroutine of its own: the
// call may stay pending over the next steps.
type localCall struct {
	method string
	args   []any          // by position
	named  map[string]any // or by name
}

// methods are the triggers.
var methods = map[string]bool{"executeCommand": true, "registerCommand": true, "listCommands": true, "emitEvent": true}

func parseTrigger(v any) (*localCall, error) {
	if name, ok := v.(string); ok {
		v = map[string]any{name: nil}
	}
	f := readFields("the trigger", v)
	if f.err != nil || len(f.rest) != 1 {
		return nil, notUnderstood("the trigger %s", render(v))
	}
	name := slices.Collect(maps.Keys(f.rest))[0]
	if !methods[name] {
		return nil, notUnderstood("the trigger %q", name)
	}
	c := &localCall{method: name}
	switch args := f.value(name).(type) {
	case []any:
		c.args = args
	case string:
		c.args = []any{args}
	case map[string]any:
		c.named = args
	case nil, bool:
	default:
		return nil, notUnderstood("the arguments of %s: %s", name, render(args))
	}
	return c, nil
}

func (c *localCall) String() string { return "local-call " + c.method }

// operation is a call that is ready to be made.
type operation struct {
	run func(context.Context) (json.RawMessage, error)
	// request is what it sends if it has to ask another registry.
	request request
}

// call is one that was made. Its fields are guarded by stage.mu.
type call struct {
	done   bool
	result any // or absent
	err    error
}

// play makes the call and returns when that has ended, or has sent a request
// and waits for the answer.
func (c *localCall) play(s *stage) error {
	op, err := c.prepare(s)
	if err != nil {
		return err
	}
	s.mu.Lock()
	before := s.requests[op.request]
	s.mu.Unlock()
	made := &call{}
	s.last = made
	s.calls.Go(func() {
		data, err := op.run(s.ctx)
		v, invalid := decodeValue(data)
		s.update(func() { made.done, made.result, made.err = true, v, errors.Join(err, invalid) })
	})
	if err := s.await(func() bool { return made.done || s.requests[op.request] > before }); err != nil {
		return fmt.Errorf("it neither ends nor sends a request: %w", err)
	}
	return nil
}

func (c *localCall) prepare(s *stage) (op operation, err error) {
	switch c.method {
	case "executeCommand":
		id, body, err := c.idAndValue(s, []string{"id", "commandId", "command"}, []string{"request", "args", "payload"})
		return operation{
			run:     func(ctx context.Context) (json.RawMessage, error) { return s.registry.ExecuteRaw(ctx, id, body) },
			request: request{bus.ExecuteRequest, id},
		}, err
	case "emitEvent":
		id, body, err := c.idAndValue(s, []string{"id", "eventId", "event"}, []string{"payload"})
		return operation{
			run: func(ctx context.Context) (json.RawMessage, error) {
				return nil, s.registry.Events().EmitRaw(ctx, id, body)
			},
		}, err
	case "registerCommand":
		cmd, err := c.command()
		return operation{
			run: func(ctx context.Context) (json.RawMessage, error) {
				return nil, s.registry.RegisterRaw(ctx, cmd.def, cmd.returns.handler())
			},
			request: request{bus.RegisterRequest, cmd.def.ID},
		}, err
	}
	if len(c.args)+len(c.named) > 0 {
		return op, notUnderstood("arguments of listCommands")
	}
	return operation{run: func(context.Context) (json.RawMessage, error) { return listCommands(s.registry) }}, nil
}

// idAndValue reads the arguments (id, value), the latter encoded. What was
// captured may stand in both.
func (c *localCall) idAndValue(s *stage, ids, values []string) (string, json.RawMessage, error) {
	f := c.arguments(ids[0], values[0])
	id, value := f.oneValue(ids...), f.oneValue(values...)
	if err := f.end(); err != nil {
		return "", nil, err
	}
	id, err := substitute(id, s.bound)
	if err != nil {
		return "", nil, err
	}
	text, ok := id.(string)
	if !ok {
		return "", nil, notUnderstood("the ID %s", render(id))
	}
	if value, err = substitute(value, s.bound); err != nil {
		return "", nil, err
	}
	body, err := encodeValue(value)
	return text, body, err
}

// arguments names those that are given by position.
func (c *localCall) arguments(names ...string) *fields {
	f := &fields{what: c.method, rest: maps.Clone(c.named)}
	if f.rest == nil {
		f.rest = map[string]any{}
	}
	for i, v := range c.args {
		if i == len(names) {
			f.fail("has %d arguments", len(c.args))
			break
		}
		f.rest[names[i]] = v
	}
	return f
}

// command reads the arguments of registerCommand: a definition or an ID, and
// then what the command returns, or an object with more of the definition.
func (c *localCall) command() (commandSetup, error) {
	f := c.arguments("command", "returns")
	def := f.oneValue("command")
	object := map[string]any{}
	switch def := def.(type) {
	case string:
		object["id"] = def
	case map[string]any:
		maps.Copy(object, def)
	}
	if f.err != nil {
		return commandSetup{}, f.err
	}
	if more, ok := f.rest["returns"].(map[string]any); ok && c.named == nil && isMore(more) {
		delete(f.rest, "returns")
		maps.Copy(object, more)
	}
	maps.Copy(object, f.rest)
	return parseCommand("registerCommand", object)
}

// isMore tells members of a definition from a result that is an object.
func isMore(object map[string]any) bool {
	for name := range object {
		if name != "description" && name != "schema" && name != "returns" {
			return false
		}
	}
	return len(object) > 0
}

// listCommands lists what the registry knows, in the form of the protocol.
func listCommands(r *commands.Registry) (json.RawMessage, error) {
	list := []bus.Definition{}
	for _, info := range r.Commands() {
		def := bus.Definition{ID: info.ID, Description: info.Description}
		if info.Request != nil || info.Response != nil {
			def.Schema = &bus.Schema{Request: info.Request, Response: info.Response}
		}
		list = append(list, def)
	}
	return json.Marshal(list)
}

// localResult asserts how the last call has ended.
type localResult struct {
	expected any // absent: any success
	failure  any // absent: it has succeeded
}

func (*localResult) String() string { return "local-result" }

func (r *localResult) play(s *stage) error {
	c := s.last
	if c == nil {
		return errors.New("the script has made no call")
	}
	if err := s.await(func() bool { return c.done }); err != nil {
		return fmt.Errorf("the call does not end: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.failure != (absent{}) {
		if c.err == nil {
			return fmt.Errorf("want an error with %s, got the result %s", render(r.failure), render(c.result))
		}
		got := map[string]any{"code": string(commands.CodeOf(c.err)), "message": c.err.Error()}
		if err := match(r.failure, got, s.bound); err != nil {
			return fmt.Errorf("the error %q: %w", c.err, err)
		}
		return nil
	}
	switch {
	case c.err != nil:
		return fmt.Errorf("want %s, got the error %s: %w", render(r.expected), commands.CodeOf(c.err), c.err)
	case r.expected == (absent{}):
		return nil
	}
	return matchResult(r.expected, c.result, s.bound)
}

// matchResult is match where null stands for nothing too: to callers and
// listeners in most languages they are the same.
func matchResult(want, got any, b bindings) error {
	if want == nil && got == (absent{}) {
		return nil
	}
	return match(want, got, b)
}
