package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

// mappedError says by its method As which *Error it is.
type mappedError struct{ code commands.Code }

func (mappedError) Error() string { return "mapped" }
func (m mappedError) As(target any) bool {
	e, ok := target.(**commands.Error)
	if ok {
		*e = &commands.Error{Code: m.code}
	}
	return ok
}

// TestRule05ChosenCodes holds that a handler's own choice is what its caller is told, that what a nested call failed
// with is not, and that a caller here is told what one elsewhere is.
func TestRule05ChosenCodes(t *testing.T) {
	t.Parallel()
	leaf, rs := chainOf(t, 3)
	ctx := within(t)
	handleFunc(t, leaf, "inner", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		return nil, commands.WithReason(commands.Errorf(commands.NotFound, "no user 7"), "user.unknown", map[string]int{"id": 7})
	})
	nested := func(ctx context.Context) error {
		_, err := leaf.ExecuteRaw(ctx, "inner", nil)
		return err
	}
	far := func(ctx context.Context) error {
		_, err := leaf.ExecuteRaw(ctx, "far", nil)
		return err
	}
	handleFunc(t, rs[0], "far", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		return nil, commands.ErrTimeout
	})
	for name, tc := range map[string]struct {
		fails func(context.Context) error
		code  commands.Code
		text  string
	}{
		"nested":         {nested, commands.Internal, "no user 7"},
		"nested far":     {far, commands.Internal, "timeout"},
		"nested wrapped": {func(ctx context.Context) error { return fmt.Errorf("loading: %w", nested(ctx)) }, commands.Internal, "loading: no user 7"},
		"nested joined":  {func(ctx context.Context) error { return errors.Join(io.EOF, nested(ctx)) }, commands.Internal, "EOF\nno user 7"},
		"nested, code chosen": {func(ctx context.Context) error {
			return commands.Errorf(commands.InvalidRequest, "bad: %w", nested(ctx))
		}, commands.InvalidRequest, "bad: no user 7"},
		"nested, sentinel":      {func(ctx context.Context) error { return errors.Join(nested(ctx), commands.ErrNotFound) }, commands.NotFound, "no user 7\nnot_found"},
		"nested, literal":       {func(ctx context.Context) error { return &commands.Error{Code: commands.NotFound, Err: nested(ctx)} }, commands.NotFound, "not_found"},
		"wrapped choice":        {func(context.Context) error { return fmt.Errorf("w: %w", commands.Errorf(commands.NotFound, "x")) }, commands.NotFound, "w: x"},
		"unknown code":          {func(context.Context) error { return &commands.Error{Code: "weird", Message: "odd"} }, commands.Internal, "odd"},
		"unknown code, wrapped": {func(context.Context) error { return fmt.Errorf("w: %w", commands.Errorf("weird", "odd")) }, commands.Internal, "w: odd"},
		"registration's code":   {func(context.Context) error { return commands.ErrDuplicateCommand }, commands.Internal, "duplicate_command"},
		"no code":               {func(context.Context) error { return &commands.Error{Message: "odd"} }, commands.Internal, "odd"},
		"deadline":              {func(context.Context) error { return fmt.Errorf("db: %w", context.DeadlineExceeded) }, commands.Timeout, "db: context deadline exceeded"},
		"mapped":                {func(context.Context) error { return mappedError{commands.NotFound} }, commands.NotFound, "mapped"},
		"nil *Error":            {func(context.Context) error { return fmt.Errorf("w: %w", (*commands.Error)(nil)) }, commands.Internal, ""},
	} {
		handleFunc(t, leaf, "outer", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) { return nil, tc.fails(ctx) })
		settle(t, rs...)
		for where, r := range map[string]*commands.Registry{"here": leaf, "there": rs[0]} {
			_, err := r.ExecuteRaw(ctx, "outer", nil)
			msg := name + ", " + where
			var e *commands.Error
			require.ErrorAs(t, err, &e, msg)
			assert.Equal(t, tc.code, e.Code, msg)
			assert.Equal(t, tc.code, commands.CodeOf(err), msg)
			if tc.text != "" {
				assert.Equal(t, tc.text, err.Error(), msg)
			}
			for _, sentinel := range []error{commands.ErrNotFound, commands.ErrInvalidRequest, commands.ErrInternal, commands.ErrTimeout, commands.ErrDuplicateCommand} {
				assert.Equal(t, sentinel.(*commands.Error).Code == tc.code, errors.Is(err, sentinel), "%s is %v", msg, sentinel)
			}
			assert.Equal(t, tc.code == commands.Timeout, errors.Is(err, context.DeadlineExceeded), msg)
			assert.Empty(t, e.Reason, "%s: the reason is the nested call's", msg)
		}
		leaf.Unregister("outer")
		settle(t, rs...)
	}
}

func TestRule05TheCauseStaysOnItsSide(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{Middleware: []message.HandlerMiddleware{}})
	handleFunc(t, r, "inner", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		return nil, commands.Errorf(commands.NotFound, "gone: %w", io.EOF)
	})
	handleFunc(t, r, "outer", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		_, err := r.ExecuteRaw(ctx, "inner", nil)
		assert.ErrorIs(t, err, commands.ErrNotFound, "the handler sees what the nested call failed with")
		return nil, fmt.Errorf("outer: %w", err)
	})
	_, err := r.ExecuteRaw(within(t), "outer", nil)
	assert.NotErrorIs(t, err, commands.ErrNotFound)
	assert.ErrorIs(t, err, io.EOF)
	var e *commands.Error
	require.ErrorAs(t, err, &e)
	assert.ErrorIs(t, e.Err, commands.ErrNotFound, "the cause has it")
}

func TestRule21MiddlewareSeesTheHandlersOwnError(t *testing.T) {
	t.Parallel()
	saw := make(chan error, 1)
	look := func(next message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			out, err := next(m)
			saw <- err
			return out, err
		}
	}
	own := commands.Errorf(commands.NotFound, "mine")
	r := newRegistry(t, commands.Config{Middleware: []message.HandlerMiddleware{look}})
	handleFunc(t, r, "c", func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, own })
	_, err := r.ExecuteRaw(within(t), "c", nil)
	require.ErrorIs(t, err, commands.ErrNotFound)
	assert.Same(t, own, await(t, saw))
}

type stock struct {
	SKU  string `json:"sku"`
	Left int    `json:"left"`
}

// TestRule05ReasonsAndDetailsCrossEveryHop goes over binary and JSON links, and both kinds of in-process wire.
func TestRule05ReasonsAndDetailsCrossEveryHop(t *testing.T) {
	t.Parallel()
	root, mid, leaf := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "mid", RouterChannel: "root"}), newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "mid"})
	join(t, root, mid)
	join(t, mid, leaf, pairing.Options{Codec: bus.JSON})
	nasty := "ünï\u2028 \"\n%41 <>&"
	handleFunc(t, leaf, "order", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		return nil, commands.WithReason(commands.Errorf(commands.InvalidRequest, "too few"), "stock.short", stock{nasty, 3})
	})
	settle(t, root, mid, leaf)
	for _, r := range []*commands.Registry{root, mid, leaf} {
		_, err := r.ExecuteRaw(within(t), "order", nil)
		require.ErrorIs(t, err, commands.ErrInvalidRequest, r.ID())
		require.ErrorIs(t, err, &commands.Error{Reason: "stock.short"}, r.ID())
		require.ErrorIs(t, err, &commands.Error{Code: commands.InvalidRequest, Reason: "stock.short"}, r.ID())
		require.NotErrorIs(t, err, &commands.Error{Reason: "stock.gone"}, r.ID())
		require.NotErrorIs(t, err, &commands.Error{Code: commands.NotFound, Reason: "stock.short"}, r.ID())
		var e *commands.Error
		require.ErrorAs(t, err, &e)
		var s stock
		require.NoError(t, json.Unmarshal(e.Details, &s))
		assert.Equal(t, stock{nasty, 3}, s, r.ID())
		assert.Equal(t, "too few", e.Message)
		assert.Equal(t, "order", e.Command)
	}
}

func TestRule05ReasonsThatCannotTravelAreRefusedWhereTheyAreMade(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"reason with a space": &commands.Error{Code: commands.NotFound, Reason: "no user"},
		"long reason":         &commands.Error{Code: commands.NotFound, Reason: strings.Repeat("r", 129)},
		"details not JSON":    &commands.Error{Code: commands.NotFound, Reason: "r", Details: json.RawMessage("{")},
		"details too large":   &commands.Error{Code: commands.NotFound, Details: json.RawMessage(`"` + strings.Repeat("d", 8<<10) + `"`)},
		"by WithReason":       commands.WithReason(commands.ErrNotFound, "no user", nil),
		"does not encode":     commands.WithReason(commands.ErrNotFound, "r", func() {}),
	} {
		root, leaf := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "root"})
		join(t, root, leaf)
		handleFunc(t, leaf, "c", func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, err })
		settle(t, root, leaf)
		for _, r := range []*commands.Registry{root, leaf} {
			_, err := r.ExecuteRaw(within(t), "c", nil)
			require.ErrorIs(t, err, commands.ErrInternal, "%s, %s", name, r.ID())
			var e *commands.Error
			require.ErrorAs(t, err, &e)
			assert.Empty(t, e.Reason)
			assert.Contains(t, err.Error(), "of an error", name)
		}
	}
	assert.NoError(t, commands.WithReason(nil, "r", nil))
	assert.ErrorIs(t, commands.WithReason(io.EOF, "r", nil), io.EOF, "another error is the cause")
}

func TestRule05AForeignPeerSeesCodeAndMessage(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{Middleware: []message.HandlerMiddleware{func(message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) { // makes the reply itself, with a code of its own
			req, _ := bus.Binary.Unmarshal(m)
			reply, err := bus.Binary.Marshal(bus.Envelope{ID: bus.NewID(), Type: bus.ExecuteResponse, Thread: req.ID,
				Fault: &bus.Fault{Code: "weird", Message: "odd", Reason: "r", Details: json.RawMessage(`{"a":1}`)}})
			return []*message.Message{reply}, err
		}
	}}})
	handle(t, r, "c", "1")
	s := meet(t, r, "peer", everything)
	s.say(bus.Envelope{ID: "1", Type: bus.ExecuteRequest, Name: "c"})
	f := s.wants(bus.ExecuteResponse).Fault
	require.NotNil(t, f)
	assert.Equal(t, bus.Fault{Code: "internal_error", Message: "odd", Reason: "r", Details: json.RawMessage(`{"a":1}`)}, *f)
	body, err := bus.JSON.Marshal(bus.Envelope{ID: "2", Type: bus.ExecuteResponse, Thread: "1", Fault: f})
	require.NoError(t, err)
	assert.JSONEq(t, `{"id":"2","type":"execute.command.response","thid":"1","response":{"ok":false,"error":{"code":"internal_error","message":"odd"}}}`, string(body.Payload))
}

func TestRule05CodeOf(t *testing.T) {
	t.Parallel()
	for want, errs := range map[commands.Code][]error{
		"":                        {nil},
		commands.NotFound:         {commands.ErrNotFound, fmt.Errorf("x: %w", commands.ErrNotFound)},
		commands.DuplicateCommand: {commands.ErrDuplicateCommand},
		commands.Timeout:          {context.DeadlineExceeded, fmt.Errorf("x: %w", context.DeadlineExceeded)},
		commands.Internal:         {io.EOF, context.Canceled, &commands.Error{}, &commands.Error{Code: "weird"}, (*commands.Error)(nil)},
	} {
		for _, err := range errs {
			assert.Equal(t, want, commands.CodeOf(err), "%#v", err)
		}
	}
	assert.ErrorIs(t, &commands.Error{Code: "weird"}, commands.ErrInternal)
	assert.NotErrorIs(t, commands.ErrNotFound, &commands.Error{}, "an empty *Error is no sentinel")
}

func TestErrorfKeepsAllItsCauses(t *testing.T) {
	t.Parallel()
	a, b := errors.New("a"), errors.New("b")
	one, both := commands.Errorf(commands.Internal, "x: %w", a), commands.Errorf(commands.Internal, "%w and %w", a, b)
	assert.ErrorIs(t, one, a)
	assert.ErrorIs(t, both, a)
	assert.ErrorIs(t, both, b)
	assert.Equal(t, "a and b", both.Error())
	assert.Nil(t, errors.Unwrap(commands.Errorf(commands.Internal, "none")))
}
