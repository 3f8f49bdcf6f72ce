package commands_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// A handler of each of three registries in a row runs while all are shut down. When let go it calls the others, in both directions,
// and emits; a listener at the far end calls back.
func TestRule18RegistriesOfOneProcessAreShutDownAsOne(t *testing.T) {
	t.Parallel()
	root := newRegistry(t, commands.Config{ID: "root"})
	mid := newRegistry(t, commands.Config{ID: "mid", RouterChannel: "root"})
	leaf := newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "mid"})
	join(t, root, mid)
	join(t, mid, leaf)
	all := []*commands.Registry{leaf, root, mid}
	begun, proceed := make(chan struct{}, 3), make(chan struct{})
	var called, heard atomic.Int64
	for _, r := range all {
		handle(t, r, r.ID()+".small", "1")
		handleFunc(t, r, r.ID()+".outer", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
			begun <- struct{}{}
			<-proceed
			for _, other := range all {
				if _, err := r.ExecuteRaw(ctx, other.ID()+".small", nil); err != nil {
					return nil, err
				}
				called.Add(1)
			}
			return nil, r.Events().EmitRaw(ctx, "done", nil)
		})
		_, err := r.Events().ListenRaw("done", func(ctx context.Context, _ string, _ json.RawMessage) {
			time.Sleep(time.Millisecond) // a listener takes its time
			for _, other := range all {
				if _, err := r.ExecuteRaw(ctx, other.ID()+".small", nil); assert.NoError(t, err) {
					heard.Add(1)
				}
			}
		})
		require.NoError(t, err)
	}
	settle(t, all...)
	ended := make(chan error, 3)
	for _, r := range all {
		go func() {
			_, err := r.ExecuteRaw(within(t), r.ID()+".outer", nil)
			ended <- err
		}()
		await(t, begun)
	}
	down := make(chan error)
	go func() { down <- commands.ShutdownAll(within(t), all...) }()
	for _, r := range all {
		require.Eventually(t, func() bool {
			_, err := r.ExecuteRaw(within(t), r.ID()+".small", nil)
			return err != nil
		}, patience, time.Millisecond, "new work is refused")
	}
	close(proceed)
	for range all {
		require.NoError(t, await(t, ended))
	}
	require.NoError(t, await(t, down))
	assert.EqualValues(t, 9, called.Load())
	assert.EqualValues(t, 27, heard.Load(), "three listeners hear three events, and call three commands each")
	for _, r := range all {
		require.ErrorIs(t, r.Events().EmitRaw(context.Background(), "x", nil), commands.ErrClosed)
	}
}

// What the last handler has emitted is on its way for a while: the others wait for it, though they have nothing to do.
func TestRule18ShutdownOfAllWaitsForEventsOnTheirWay(t *testing.T) {
	t.Parallel()
	late := func(next message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			if d, ok := bus.DeliveryFrom(m.Context()); ok && d.Envelope.Type == bus.Event {
				time.Sleep(10 * time.Millisecond)
			}
			return next(m)
		}
	}
	config := func(id, router string) commands.Config {
		return commands.Config{ID: id, RouterChannel: router, Inbound: []message.HandlerMiddleware{late}}
	}
	root, mid, leaf := newRegistry(t, config("root", "")), newRegistry(t, config("mid", "root")), newRegistry(t, config("leaf", "mid"))
	join(t, root, mid)
	join(t, mid, leaf)
	handleFunc(t, leaf, "emits", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		return nil, leaf.Events().EmitRaw(ctx, "done", nil)
	})
	var called atomic.Int64
	handleFunc(t, leaf, "again", func(context.Context, json.RawMessage) (json.RawMessage, error) { called.Add(1); return nil, nil })
	_, err := root.Events().ListenRaw("done", func(ctx context.Context, _ string, _ json.RawMessage) {
		_, err := root.ExecuteRaw(ctx, "again", nil)
		assert.NoError(t, err)
	})
	require.NoError(t, err)
	settle(t, root, mid, leaf)
	_, err = leaf.ExecuteRaw(within(t), "emits", nil)
	require.NoError(t, err)
	require.NoError(t, commands.ShutdownAll(within(t), root, mid, leaf))
	require.EqualValues(t, 1, called.Load())
}

func TestRule18ShutdownOfAllEndsWithItsContext(t *testing.T) {
	t.Parallel()
	root := newRegistry(t, commands.Config{ID: "root"})
	leaf := newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "root"})
	join(t, root, leaf)
	begun := make(chan struct{})
	handleFunc(t, leaf, "stuck", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		close(begun)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	ended := make(chan error, 1)
	go func() { _, err := root.ExecuteRaw(within(t), "stuck", nil); ended <- err }()
	await(t, begun)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := commands.ShutdownAll(ctx, root, leaf)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, `shutdown of "leaf"`)
	require.Error(t, await(t, ended))
}
