package commands_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func TestAPlainRequestIsDecodedStrictly(t *testing.T) {
	t.Parallel()
	root, worker := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "worker", RouterChannel: "root"})
	ran := false
	require.NoError(t, commands.Register(within(t), worker, addCommand, func(context.Context, sum) (int, error) { ran = true; return 0, nil }))
	join(t, root, worker)
	for request, problem := range map[string]string{
		`{"a":7,"b":"x"}`:                  `"b"`,
		`{"a":7}`:                          `missing field "b"`,
		`{"a":7,"b":1,"c":2}`:              `unknown field "c"`,
		`{"A":7,"b":1}`:                    `"A"`,
		`{"a":7,"b":1,"a":2}`:              `"a"`,
		`{"a":7,"b":null}`:                 `"b"`,
		`{"a":7,"b":1.5}`:                  `"b"`,
		`{"a":7,"b":1e999}`:                `"b"`,
		`[7,11]`:                           `object`,
		`null`:                             `object`,
		``:                                 `missing`,
		`{"a":7,"b":99999999999999999999}`: `"b"`,
	} {
		for _, r := range []*commands.Registry{root, worker} {
			var body json.RawMessage
			if request != "" {
				body = json.RawMessage(request)
			}
			_, err := r.ExecuteRaw(within(t), "math.add", body)
			require.ErrorIs(t, err, commands.ErrInvalidRequest, request)
			assert.Contains(t, err.Error(), problem, request)
		}
	}
	assert.False(t, ran, "the handler never sees it")
	for _, garbage := range []string{`{"a":7,"b":1} {}`, `{"a":7`, `nope`} { // not JSON: refused before it is sent
		_, err := root.ExecuteRaw(within(t), "math.add", json.RawMessage(garbage))
		require.ErrorIs(t, err, commands.ErrInvalidRequest, garbage)
	}
}

func TestAnExplicitSchemaIsValidatedBeforeTheTypedHandlerRuns(t *testing.T) {
	t.Parallel()
	c := commands.Define[sum, int]("math.add", "", commands.Options{
		RequestSchema: json.RawMessage(`{"type":"object","properties":{"a":{"type":"integer","minimum":0},"b":{"type":"integer"}},"required":["a","b"]}`)})
	r := newRegistry(t, commands.Config{})
	require.NoError(t, commands.Register(within(t), r, c, addHandler))
	n, err := commands.Execute(within(t), r, c, sum{1, 2})
	require.NoError(t, err)
	assert.Equal(t, 3, n)
	_, err = commands.Execute(within(t), r, c, sum{-1, 2})
	require.ErrorIs(t, err, commands.ErrInvalidRequest, "also for a typed local call")
	assert.Contains(t, err.Error(), `"a"`)
	assert.JSONEq(t, `{"type":"object","properties":{"a":{"type":"integer","minimum":0},"b":{"type":"integer"}},"required":["a","b"]}`, string(r.Commands()[0].Request))
}

func TestARawCommandWithASchemaIsValidated(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{})
	def := bus.Definition{ID: "raw", Schema: &bus.Schema{Request: json.RawMessage(`{"type":"object","properties":{"user":{"type":"object","properties":{"age":{"type":"integer"}},"required":["age"]}}}`)}}
	require.NoError(t, r.RegisterRaw(within(t), def, func(_ context.Context, req json.RawMessage) (json.RawMessage, error) { return req, nil }))
	_, err := r.ExecuteRaw(within(t), "raw", json.RawMessage(`{"user":{"age":"old"}}`))
	require.ErrorIs(t, err, commands.ErrInvalidRequest)
	assert.Contains(t, err.Error(), "user.age")
	res, err := r.ExecuteRaw(within(t), "raw", json.RawMessage(`{"user":{"age":12345678901234567890}}`))
	require.NoError(t, err)
	assert.Equal(t, `{"user":{"age":12345678901234567890}}`, string(res))

	for _, bad := range []string{`{"type":`, `7`, `{"$ref":"https://example.com/schema"}`, `{"type":"nonsense"}`} {
		def := bus.Definition{ID: "bad", Schema: &bus.Schema{Request: json.RawMessage(bad)}}
		err := r.RegisterRaw(within(t), def, func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil })
		require.ErrorIs(t, err, commands.ErrInvalidRequest, bad)
	}
	require.Error(t, r.RegisterRaw(within(t), bus.Definition{ID: "nil"}, nil))
	require.Error(t, r.RegisterRaw(within(t), bus.Definition{}, func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil }))
}

func TestARawHandlersResultMustBeJSON(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{})
	handle(t, r, "bad", `{"a":`)
	_, err := r.ExecuteRaw(within(t), "bad", nil)
	require.ErrorIs(t, err, commands.ErrInternal)
}

func TestVoidAcceptsAbsentNullAndEmpty(t *testing.T) {
	t.Parallel()
	c := commands.Define[commands.Void, commands.Void]("ping", "")
	r, root := newRegistry(t, commands.Config{ID: "r", RouterChannel: "root"}), newRegistry(t, commands.Config{ID: "root"})
	require.NoError(t, commands.Register(within(t), r, c, func(context.Context, commands.Void) (commands.Void, error) { return commands.Void{}, nil }))
	join(t, root, r)
	for _, from := range []*commands.Registry{r, root} {
		for _, req := range []json.RawMessage{nil, json.RawMessage("null"), json.RawMessage("{}")} {
			res, err := from.ExecuteRaw(within(t), "ping", req)
			require.NoError(t, err, string(req))
			assert.Nil(t, res)
		}
		_, err := from.ExecuteRaw(within(t), "ping", json.RawMessage(`{"a":1}`))
		require.ErrorIs(t, err, commands.ErrInvalidRequest)
		_, err = commands.Execute(within(t), from, c, commands.Void{})
		require.NoError(t, err)
	}
	assert.Nil(t, c.Definition().Schema, "void advertises no schema")
}

type tree struct {
	Value    int     `json:"value"`
	Children []*tree `json:"children,omitempty"`
}

func TestSchemasAreInferred(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		def  bus.Definition
		want string
	}{
		{commands.Define[sum, string]("a", "").Definition(), `{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"required":["a","b"],"additionalProperties":false}`},
		{commands.Define[string, string]("a", "").Definition(), `{"type":"string"}`},
		{commands.Define[json.RawMessage, any]("a", "").Definition(), `{}`},
		{commands.Define[any, commands.Void]("a", "").Definition(), `{}`},
	} {
		var got, want any
		require.NoError(t, json.Unmarshal(tc.def.Schema.Request, &got))
		require.NoError(t, json.Unmarshal([]byte(tc.want), &want))
		if tc.want == "{}" && got == true {
			continue // the other way to say it
		}
		assert.Equal(t, want, got)
	}
}

func TestRecursiveTypesWork(t *testing.T) {
	t.Parallel()
	c := commands.Define[tree, int]("tree.sum", "")
	var add func(tree) int
	add = func(n tree) int {
		s := n.Value
		for _, c := range n.Children {
			s += add(*c)
		}
		return s
	}
	root, worker := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "worker", RouterChannel: "root"})
	require.NoError(t, commands.Register(within(t), worker, c, func(_ context.Context, n tree) (int, error) { return add(n), nil }))
	join(t, root, worker)
	n, err := commands.Execute(within(t), root, c, tree{1, []*tree{{2, nil}, {3, []*tree{{4, nil}}}}})
	require.NoError(t, err)
	assert.Equal(t, 10, n)
	_, err = root.ExecuteRaw(within(t), "tree.sum", json.RawMessage(`{"value":1,"children":[{"value":2},{"children":[]}]}`))
	require.ErrorIs(t, err, commands.ErrInvalidRequest)
	assert.Contains(t, err.Error(), "children[1].value")
}

func TestAnyJSONPassesUntouched(t *testing.T) {
	t.Parallel()
	echo := commands.Define[json.RawMessage, json.RawMessage]("echo", "")
	leaf, rs := chainOf(t, 3)
	require.NoError(t, commands.Register(within(t), leaf, echo, func(_ context.Context, m json.RawMessage) (json.RawMessage, error) { return m, nil }))
	settle(t, rs...)
	for _, v := range []string{`null`, `12345678901234567890.10`, `{"z":1,"a":[ ]}`, `"\u00e9"`, `[]`} {
		res, err := commands.Execute(within(t), rs[0], echo, json.RawMessage(v))
		require.NoError(t, err)
		assert.Equal(t, v, string(res))
	}
	res, err := commands.Execute(within(t), rs[0], echo, nil)
	require.NoError(t, err)
	assert.Nil(t, res)
}

func TestAResultThatDoesNotFitIsAnInternalError(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{})
	handle(t, r, "math.add", `"eighteen"`)
	_, err := commands.Execute(within(t), r, addCommand, sum{})
	require.ErrorIs(t, err, commands.ErrInternal)
	assert.Contains(t, err.Error(), "does not fit")
}

func TestDefinePanicsNamingTheCulprit(t *testing.T) {
	t.Parallel()
	for _, define := range map[string]func(){
		"chan": func() { commands.Define[chan int, int]("bad.one", "") },
		"func": func() { commands.Define[int, struct{ F func() }]("bad.one", "") },
		"schema": func() {
			commands.Define[int, int]("bad.one", "", commands.Options{RequestSchema: json.RawMessage(`{`)})
		},
		"two": func() { commands.Define[int, int]("bad.one", "", commands.Options{}, commands.Options{}) },
	} {
		func() {
			defer func() { assert.Contains(t, fmt.Sprint(recover()), "bad.one") }()
			define()
		}()
	}
	var zero commands.Command[int, int]
	r := newRegistry(t, commands.Config{})
	_, err := commands.Execute(within(t), r, zero, 1)
	require.ErrorIs(t, err, commands.ErrInvalidRequest)
	require.ErrorIs(t, commands.Register(within(t), r, zero, func(context.Context, int) (int, error) { return 0, nil }), commands.ErrInvalidRequest)
	require.Error(t, commands.Register(within(t), r, addCommand, nil))
}

type calculator struct{ offset int }

func (c *calculator) Add(_ context.Context, s sum) (int, error) { return s.A + s.B + c.offset, nil }
func (c *calculator) Half(_ context.Context, n int) (int, error) {
	if n%2 != 0 {
		return 0, commands.Errorf(commands.InvalidRequest, "%d is odd", n)
	}
	return n / 2, nil
}
func (c *calculator) unexported() {}

type misfit struct{ calculator }

func (misfit) Broken(s string) string { return s }

func TestRegisterService(t *testing.T) {
	t.Parallel()
	root, worker := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "worker", RouterChannel: "root"})
	c := &calculator{offset: 100}
	c.unexported()
	require.NoError(t, commands.RegisterService(within(t), worker, "math", c))
	join(t, root, worker)
	for _, r := range []*commands.Registry{root, worker} {
		n, err := commands.Execute(within(t), r, addCommand, sum{1, 2})
		require.NoError(t, err)
		assert.Equal(t, 103, n)
		res, err := r.ExecuteRaw(within(t), "math.half", json.RawMessage(`6`))
		require.NoError(t, err)
		assert.Equal(t, "3", string(res))
		_, err = r.ExecuteRaw(within(t), "math.half", json.RawMessage(`7`))
		require.ErrorIs(t, err, commands.ErrInvalidRequest)
		assert.Equal(t, "7 is odd", err.Error())
		_, err = r.ExecuteRaw(within(t), "math.half", json.RawMessage(`"7"`))
		require.ErrorIs(t, err, commands.ErrInvalidRequest)
	}
	assert.Contains(t, string(root.Commands()[0].Request), `"properties"`)

	err := commands.RegisterService(within(t), root, "bad", misfit{})
	require.ErrorContains(t, err, "misfit.Broken")
	require.ErrorContains(t, err, "func(string) string")
	for _, none := range []any{nil, (*calculator)(nil), struct{}{}, calculator{}} {
		require.Error(t, commands.RegisterService(within(t), root, "none", none))
	}
	before := len(root.Commands())
	handle(t, root, "again.half", "1")
	require.ErrorIs(t, commands.RegisterService(within(t), root, "again", c), commands.ErrDuplicateCommand)
	assert.Len(t, root.Commands(), before+1, "all or nothing")
}

func TestNewRegistryRefusesNonsense(t *testing.T) {
	t.Parallel()
	for field, cfg := range map[string]commands.Config{
		"MaxInFlight": {MaxInFlight: -1}, "RequestTTL": {RequestTTL: -time.Second}, "QueueSize": {QueueSize: -1},
		"middleware": {Middleware: []message.HandlerMiddleware{nil}},
	} {
		_, err := commands.NewRegistry(cfg)
		require.ErrorContains(t, err, field)
	}
}

func TestALocalTypedCallAllocatesAtMostOnce(t *testing.T) {
	r := newRegistry(t, commands.Config{})
	require.NoError(t, commands.Register(within(t), r, addCommand, addHandler))
	ctx := context.Background()
	allocs := testing.AllocsPerRun(1000, func() {
		if n, err := commands.Execute(ctx, r, addCommand, sum{7, 11}); n != 18 || err != nil {
			t.Fatal(n, err)
		}
	})
	assert.LessOrEqual(t, allocs, 1.0)
}
