package brokers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// handle is handling with middleware behind that which keeps the replies.
func handle(t *testing.T, replies *brokers.Replies, h commands.RawHandler, more ...message.HandlerMiddleware) *commands.Registry {
	t.Helper()
	r, err := commands.NewRegistry(commands.Config{Logger: slog.New(slog.DiscardHandler),
		Middleware: append([]message.HandlerMiddleware{replies.Middleware}, more...)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	require.NoError(t, r.RegisterRaw(t.Context(), bus.Definition{ID: "raw", Schema: &bus.Schema{
		Request: json.RawMessage(`{"type":"object","required":["n"]}`)}}, h))
	return r
}

// TestRule28AKeyNamesOneRequest: the same key with another body is refused, and one that is only written otherwise is not.
func TestRule28AKeyNamesOneRequest(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, open func(brokers.RepliesOptions) *brokers.Replies) {
		var runs atomic.Int64
		replies := open(brokers.RepliesOptions{})
		r := handle(t, replies, func(context.Context, json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(fmt.Sprint(runs.Add(1))), nil
		})
		ctx := commands.WithOnce(t.Context(), "order-1")
		for _, same := range []string{`{"n":1,"m":[2,3.0]}`, `{"n":1,"m":[2,3.0]}`, `{ "m" : [2, 3.0], "n":1 }`, "{\"\\u006e\":1,\"m\":[2,3.0]}\n"} {
			got, err := r.ExecuteRaw(ctx, "raw", json.RawMessage(same))
			require.NoError(t, err, same)
			require.Equal(t, "1", string(got))
		}
		for _, other := range []string{`{"n":2,"m":[2,3.0]}`, `{"n":1}`, `{"n":1,"m":[3.0,2]}`, `{"n":"1","m":[2,3.0]}`, `{"n":1,"m":[2,3.0],"x":null}`} {
			_, err := r.ExecuteRaw(ctx, "raw", json.RawMessage(other))
			require.ErrorIs(t, err, commands.ErrInvalidRequest, other)
			require.ErrorContains(t, err, "key")
		}
		large := commands.WithOnce(t.Context(), "large")
		_, err := r.ExecuteRaw(large, "raw", json.RawMessage(`{"n":9007199254740993}`))
		require.NoError(t, err)
		_, err = r.ExecuteRaw(large, "raw", json.RawMessage(`{"n":9007199254740992}`))
		require.ErrorIs(t, err, commands.ErrInvalidRequest)
		require.EqualValues(t, 2, runs.Load())
		require.Equal(t, brokers.RepliesStats{Executed: 2, Answered: 3, Conflicts: 6}, replies.Stats())
		got, err := r.ExecuteRaw(ctx, "raw", json.RawMessage(`{"n":1,"m":[2,3.0]}`))
		require.NoError(t, err, "the right one has its reply still")
		require.Equal(t, "1", string(got))
	})
}

// TestRule28WhatNeverRanIsNotKept: a request that was refused before it reached the handler leaves the key to the right one.
func TestRule28WhatNeverRanIsNotKept(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, open func(brokers.RepliesOptions) *brokers.Replies) {
		breaker := func(next message.HandlerFunc) message.HandlerFunc {
			return func(m *message.Message) ([]*message.Message, error) {
				switch m.Metadata["do"] {
				case "refuse":
					return nil, errors.New("circuit breaker is open")
				case "panic":
					panic("in middleware")
				case "swallow":
					return nil, nil
				}
				return next(m)
			}
		}
		replies := open(brokers.RepliesOptions{})
		var runs atomic.Int64
		r := handle(t, replies, func(_ context.Context, req json.RawMessage) (json.RawMessage, error) {
			runs.Add(1)
			if bytes.Contains(req, []byte("wrong")) {
				return nil, commands.Errorf(commands.InvalidRequest, "no such thing, run %d", runs.Load())
			}
			return req, nil
		}, breaker)
		require.NoError(t, commands.Register(t.Context(), r, keep, func(_ context.Context, n int) (string, error) {
			runs.Add(1)
			return fmt.Sprint(n), nil
		}))
		right := json.RawMessage(`{"n":1}`)
		for name, refused := range map[string]func(ctx context.Context) error{
			"schema": func(ctx context.Context) error {
				_, err := r.ExecuteRaw(ctx, "raw", json.RawMessage(`{"m":1}`))
				return err
			},
			"no JSON": func(ctx context.Context) error {
				_, err := r.ExecuteRaw(ctx, "raw", json.RawMessage(`{"n":`))
				return err
			},
			"middleware refuses": func(ctx context.Context) error {
				_, err := r.ExecuteRaw(bus.WithMetadata(ctx, message.Metadata{"do": "refuse"}), "raw", right)
				return err
			},
			"middleware panics": func(ctx context.Context) error {
				_, err := r.ExecuteRaw(bus.WithMetadata(ctx, message.Metadata{"do": "panic"}), "raw", right)
				return err
			},
			"middleware swallows": func(ctx context.Context) error {
				_, err := r.ExecuteRaw(bus.WithMetadata(ctx, message.Metadata{"do": "swallow"}), "raw", right)
				return err
			},
		} {
			before := runs.Load()
			ctx := commands.WithOnce(t.Context(), name)
			require.Error(t, refused(ctx), name)
			require.Equal(t, before, runs.Load(), name)
			got, err := r.ExecuteRaw(ctx, "raw", right)
			require.NoError(t, err, name)
			require.JSONEq(t, string(right), string(got))
			require.Equal(t, before+1, runs.Load(), name)
		}
		before := runs.Load()
		ctx := commands.WithOnce(t.Context(), "typed")
		_, err := r.ExecuteRaw(ctx, keep.ID(), json.RawMessage(`"seven"`))
		require.ErrorIs(t, err, commands.ErrInvalidRequest)
		got, err := commands.Execute(ctx, r, keep, 7)
		require.NoError(t, err)
		require.Equal(t, "7", got)
		require.Equal(t, before+1, runs.Load())

		before = runs.Load()
		ctx = commands.WithOnce(t.Context(), "the handler's own refusal is a reply")
		_, first := r.ExecuteRaw(ctx, "raw", json.RawMessage(`{"n":"wrong"}`))
		_, again := r.ExecuteRaw(ctx, "raw", json.RawMessage(`{"n":"wrong"}`))
		require.ErrorIs(t, first, commands.ErrInvalidRequest)
		require.EqualError(t, again, first.Error())
		require.Equal(t, before+1, runs.Load())
	})
}

// TestRule26KeptRepliesAreSigned: what another client has written into the store is no reply.
func TestRule26KeptRepliesAreSigned(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, open func(brokers.RepliesOptions) *brokers.Replies) {
		one, two := bytes.Repeat([]byte("1"), 16), bytes.Repeat([]byte("2"), 16)
		var runs atomic.Int64
		with := func(keys ...[]byte) *commands.Registry {
			return keeping(t, open(brokers.RepliesOptions{Keys: keys}), func(context.Context, int) (string, error) {
				return fmt.Sprint("run ", runs.Add(1)), nil
			})
		}
		ctx := commands.WithOnce(t.Context(), "k")
		for _, r := range []*commands.Registry{with(one), with(one, two), with(two, one)} {
			got, err := commands.Execute(ctx, r, keep, 0)
			require.NoError(t, err)
			require.Equal(t, "run 1", got)
		}
		_, err := commands.Execute(ctx, with(two), keep, 0)
		require.ErrorIs(t, err, commands.ErrChannelDisconnected, "it is given back")
		require.EqualValues(t, 1, runs.Load())
	})
	_, err := brokers.RedisReplies(nil, brokers.RepliesOptions{Keys: [][]byte{[]byte("short")}})
	require.ErrorIs(t, err, bus.ErrInvalidKeys)
}
