package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
)

type node struct {
	Name string `json:"name"`
}

var nameOf = commands.Define[*node, string]("name.of", "")

// Interceptors see calls and emits, local and remote, typed and raw, with what they have put on the ctx going along.
func TestRule21InterceptorsWrapCallsAndEmits(t *testing.T) {
	t.Parallel()
	var seen []string
	watch := func(ctx context.Context, out bus.Outgoing, next func(context.Context) error) error {
		err := next(bus.WithMetadata(ctx, message.Metadata{"token": "t"}))
		seen = append(seen, string(out.Type)+" "+out.Name+" "+string(out.Payload()))
		return err
	}
	root := newRegistry(t, commands.Config{ID: "root"})
	leaf := newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "root", Interceptors: []bus.Interceptor{watch}})
	join(t, root, leaf)
	tokens := make(chan string, 10)
	var got *node
	for _, r := range []*commands.Registry{root, leaf} {
		require.NoError(t, commands.Register(within(t), r, commands.Define[*node, string](r.ID()+".name", ""), func(ctx context.Context, n *node) (string, error) {
			got = n
			tokens <- bus.MetadataFrom(ctx)["token"]
			return n.Name, nil
		}))
		_, err := events.Listen(r.Events(), events.Define[int]("said"), func(ctx context.Context, _ int) { tokens <- bus.MetadataFrom(ctx)["token"] })
		require.NoError(t, err)
	}
	given := &node{"a"}
	for _, id := range []string{"leaf.name", "root.name"} {
		name, err := commands.Execute(within(t), leaf, commands.Define[*node, string](id, ""), given)
		require.NoError(t, err)
		require.Equal(t, "a", name)
		raw, err := leaf.ExecuteRaw(within(t), id, json.RawMessage(`{"name":"b"}`))
		require.NoError(t, err)
		require.JSONEq(t, `"b"`, string(raw))
	}
	require.NoError(t, events.Emit(within(t), leaf.Events(), events.Define[int]("said"), 7))
	require.NoError(t, leaf.Events().Flush(within(t)))
	require.NoError(t, root.Events().Flush(within(t)))
	for range 6 {
		require.Equal(t, "t", await(t, tokens))
	}
	assert.Equal(t, []string{
		`execute.command.request leaf.name {"name":"a"}`, `execute.command.request leaf.name {"name":"b"}`,
		`execute.command.request root.name {"name":"a"}`, `execute.command.request root.name {"name":"b"}`, "event said 7",
	}, seen)
	_, err := commands.Execute(within(t), leaf, commands.Define[*node, string]("leaf.name", ""), given)
	require.NoError(t, err)
	require.Same(t, given, got, "a local call passes the value itself")
}

func TestRule21WhatInterceptorsReturn(t *testing.T) {
	t.Parallel()
	open := errors.New("breaker open")
	var with bus.Interceptor
	outer := func(ctx context.Context, out bus.Outgoing, next func(context.Context) error) error {
		return with(ctx, out, next)
	}
	r := newRegistry(t, commands.Config{Interceptors: []bus.Interceptor{outer}})
	runs := 0
	require.NoError(t, commands.Register(within(t), r, nameOf, func(_ context.Context, n *node) (string, error) {
		if runs++; runs < 3 {
			return "early", commands.ErrTimeout
		}
		return n.Name, nil
	}))
	both := func(check func(res string, err error)) {
		check(commands.Execute(within(t), r, nameOf, &node{"a"}))
		raw, err := r.ExecuteRaw(within(t), nameOf.ID(), json.RawMessage(`{"name":"a"}`))
		check(string(raw), err)
	}

	with = func(ctx context.Context, _ bus.Outgoing, next func(context.Context) error) error {
		err := next(ctx)
		for errors.Is(err, commands.ErrTimeout) {
			err = next(ctx)
		}
		return err
	}
	res, err := commands.Execute(within(t), r, nameOf, &node{"a"})
	require.NoError(t, err)
	require.Equal(t, "a", res)
	require.Equal(t, 3, runs, "it was tried again")

	with = func(context.Context, bus.Outgoing, func(context.Context) error) error { return open }
	both(func(res string, err error) {
		assert.Empty(t, res)
		assert.ErrorIs(t, err, open)
		assert.ErrorIs(t, err, commands.ErrInternal)
	})
	require.ErrorIs(t, r.Events().EmitRaw(within(t), "x", nil), open)

	with = func(context.Context, bus.Outgoing, func(context.Context) error) error { return nil }
	both(func(res string, err error) {
		assert.Empty(t, res)
		assert.ErrorIs(t, err, bus.ErrNotSent)
		assert.ErrorIs(t, err, commands.ErrInternal)
	})
	require.ErrorIs(t, r.Events().EmitRaw(within(t), "x", nil), bus.ErrNotSent)

	with = func(ctx context.Context, _ bus.Outgoing, next func(context.Context) error) error {
		_ = next(ctx)
		return open
	}
	both(func(res string, err error) {
		assert.Empty(t, res, "no result with an error")
		assert.ErrorIs(t, err, open)
	})

	with = func(context.Context, bus.Outgoing, func(context.Context) error) error { panic("no") }
	both(func(_ string, err error) { assert.ErrorIs(t, err, commands.ErrInternal) })
	require.ErrorContains(t, r.Events().EmitRaw(within(t), "x", nil), "panic")

	with = func(_ context.Context, _ bus.Outgoing, next func(context.Context) error) error {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		return next(ctx)
	}
	both(func(_ string, err error) { assert.ErrorIs(t, err, context.Canceled) })

	_, err = commands.NewRegistry(commands.Config{Interceptors: []bus.Interceptor{nil}})
	require.Error(t, err)
}
