package commands_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// explosive leads back to itself by three ways: a value that is nested n deep is looked at 3^n times.
const explosive = `{"anyOf":[{"items":{"$ref":"#"}},{"items":{"$ref":"#"}},{"items":{"$ref":"#"}}]}`

func TestRule24AValidationEnds(t *testing.T) {
	t.Parallel()
	root, leaf := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "root"})
	join(t, root, leaf)
	require.NoError(t, leaf.RegisterRaw(within(t), bus.Definition{ID: "c", Schema: &bus.Schema{Request: json.RawMessage(explosive)}},
		func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil }))
	nested := json.RawMessage(strings.Repeat("[", 60) + strings.Repeat("]", 60))
	for _, r := range []*commands.Registry{root, leaf} {
		_, err := r.ExecuteRaw(within(t), "c", nested)
		require.ErrorIs(t, err, commands.ErrInvalidRequest)
		assert.Equal(t, "invalid request: it takes too many steps to validate", err.Error())
	}
}

func TestRule03AValidationHeedsItsContext(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{})
	require.NoError(t, r.RegisterRaw(within(t), bus.Definition{ID: "c", Schema: &bus.Schema{Request: json.RawMessage(explosive)}},
		func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil }))
	// What it takes too many steps for comes last, so that without the context it would be the error.
	large := json.RawMessage(`[` + strings.Repeat(`1,`, 1<<21) + strings.Repeat("[", 60) + strings.Repeat("]", 60) + `]`)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := r.ExecuteRaw(ctx, "c", large)
	require.ErrorIs(t, err, commands.ErrTimeout)
}

type point struct {
	X int `json:"x"`
	Y int `json:"y"`
}

// TestRule09WhatIsListedIsWhatHolds asks with what the listed schema takes, and with what it does not.
func TestRule09WhatIsListedIsWhatHolds(t *testing.T) {
	t.Parallel()
	loose := json.RawMessage(`{"type":"object","properties":{"x":{"type":"integer","maximum":9}}}`)
	root, leaf := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "root"})
	join(t, root, leaf)
	c := commands.Define[point, point]("loose", "", commands.Options{RequestSchema: loose})
	require.NoError(t, commands.Register(within(t), leaf, c, func(_ context.Context, p point) (point, error) { return p, nil }))
	settle(t, root, leaf)
	for _, r := range []*commands.Registry{root, leaf} {
		assert.JSONEq(t, string(loose), string(r.Commands()[0].Request))
		for request, want := range map[string]string{
			`{"x":1,"y":2}`:         `{"x":1,"y":2}`,
			`{"x":1}`:               `{"x":1,"y":0}`,
			`{"x":1,"y":2,"z":"?"}`: `{"x":1,"y":2}`,
			`{}`:                    `{"x":0,"y":0}`,
		} {
			res, err := r.ExecuteRaw(within(t), "loose", json.RawMessage(request))
			require.NoError(t, err, request)
			assert.JSONEq(t, want, string(res), request)
		}
		for _, request := range []string{`{"x":10}`, `{"x":"1"}`, `[]`, ``} {
			_, err := r.ExecuteRaw(within(t), "loose", json.RawMessage(request))
			assert.ErrorIs(t, err, commands.ErrInvalidRequest, request)
		}
	}
}

func TestRule09VoidCommandsTakeWhatTheirSchemaSays(t *testing.T) {
	t.Parallel()
	root, leaf := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "root"})
	join(t, root, leaf)
	for id, schema := range map[string]string{"object": `{"type":"object"}`, "null": `{"type":"null"}`, "any": `{}`} {
		c := commands.Define[commands.Void, commands.Void](id, "", commands.Options{RequestSchema: json.RawMessage(schema)})
		require.NoError(t, commands.Register(within(t), leaf, c, func(context.Context, commands.Void) (commands.Void, error) { return commands.Void{}, nil }))
		settle(t, root, leaf)
		for _, r := range []*commands.Registry{root, leaf} {
			_, err := commands.Execute(within(t), r, c, commands.Void{})
			require.NoError(t, err, id)
		}
	}
	assert.PanicsWithValue(t, `commands: define "c": request schema: it refuses what a void command is called with: invalid request: missing payload`, func() {
		commands.Define[commands.Void, commands.Void]("c", "", commands.Options{RequestSchema: json.RawMessage(`{"type":"string"}`)})
	})
}

func TestRule20AnAbsentRequestIsNamed(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{})
	echo := func(_ context.Context, p point) (point, error) { return p, nil }
	require.NoError(t, commands.Register(within(t), r, commands.Define[point, point]("typed", ""), echo))
	require.NoError(t, commands.Register(within(t), r, commands.Define[point, point]("schema", "", commands.Options{RequestSchema: json.RawMessage(`{"type":"object"}`)}), echo))
	raw := func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil }
	require.NoError(t, r.RegisterRaw(within(t), bus.Definition{ID: "raw", Schema: &bus.Schema{Request: json.RawMessage(`{"type":"object"}`)}}, raw))
	require.NoError(t, r.RegisterRaw(within(t), bus.Definition{ID: "optional", Schema: &bus.Schema{Request: json.RawMessage(`{"type":["null","object"]}`)}}, raw))
	for _, id := range []string{"typed", "schema", "raw"} {
		_, err := r.ExecuteRaw(within(t), id, nil)
		require.ErrorIs(t, err, commands.ErrInvalidRequest)
		assert.Equal(t, "invalid request: missing payload", err.Error(), id)
	}
	_, err := r.ExecuteRaw(within(t), "optional", nil)
	assert.NoError(t, err, "null fits")
}

func TestRule20APeersSchemaIsASchema(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{})
	for i, typ := range []bus.Type{bus.RegisterRequest, bus.ListResponse} {
		s := meet(t, r, "peer "+string(typ), everything)
		for _, schema := range []string{`{"request":5}`, `{"response":"x"}`, `{"request":[]}`} {
			body := `{"id":"c","schema":` + schema + `}`
			m, err := bus.Binary.Marshal(bus.Envelope{ID: bus.NewID(), Type: bus.RegisterRequest, Body: json.RawMessage(`{"id":"c"}`)})
			require.NoError(t, err)
			if typ == bus.ListResponse {
				m, err = bus.Binary.Marshal(bus.Envelope{ID: bus.NewID(), Type: typ, Thread: "t", Body: json.RawMessage(`[]`)})
				require.NoError(t, err)
				body = "[" + body + "]"
			}
			m.Payload = []byte(body)
			s.deliver(m)
		}
		s.silent()
		assert.EqualValues(t, 3, s.Link.Stats().Rejected, "%d", i)
		assert.Empty(t, r.Commands())
	}
}

func TestRule20ANullSchemaSaysNothing(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{})
	null := json.RawMessage(" null")
	require.NoError(t, r.RegisterRaw(within(t), bus.Definition{ID: "raw", Schema: &bus.Schema{Request: null, Response: null}}, nothing))
	for _, req := range []json.RawMessage{nil, json.RawMessage("1"), json.RawMessage(`{"a":1}`)} {
		_, err := r.ExecuteRaw(within(t), "raw", req)
		assert.NoError(t, err, string(req))
	}
	typed := commands.Define[int, int]("typed", "", commands.Options{RequestSchema: null, ResponseSchema: null})
	assert.JSONEq(t, `{"type":"integer"}`, string(typed.Definition().Schema.Request), "inferred")
	require.NoError(t, commands.Register(within(t), r, typed, echo))
	_, err := commands.Execute(within(t), r, typed, 1)
	assert.NoError(t, err)
}
