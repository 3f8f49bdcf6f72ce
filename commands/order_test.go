package commands_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
)

// noise emits at r until the test ends, from outside of any handler, as much as at most a burst on its way to root:
// more would be dropped where it is relayed.
func noise(t *testing.T, r, root *commands.Registry) {
	const burst = 500
	ctx, stop := context.WithCancel(context.Background())
	arrived := make(chan struct{}, burst)
	id := "noise." + r.ID()
	_, err := root.Events().ListenRaw(id, func(context.Context, string, json.RawMessage) {
		select {
		case arrived <- struct{}{}:
		case <-ctx.Done():
		}
	})
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; r.Events().EmitRaw(ctx, id, nil) == nil; i++ {
			if i < burst {
				continue
			}
			select {
			case <-arrived:
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(func() { stop(); wg.Wait() })
}

// heard returns how many events with that ID r accepts from now on.
func heard(t *testing.T, r *commands.Registry, id string) func() int {
	busy, end := make(chan struct{}, 1), make(chan struct{})
	l, err := r.Events().ListenRaw(id, func(context.Context, string, json.RawMessage) {
		busy <- struct{}{}
		<-end
	})
	require.NoError(t, err)
	t.Cleanup(func() { close(end); l.Close() })
	require.NoError(t, r.Events().EmitRaw(within(t), id, nil))
	await(t, busy) // with that one, so all others are queued
	return func() int { return l.Stats().Queued }
}

func TestRule15AnEventOfAHandlerIsAcceptedBeforeItsReply(t *testing.T) {
	t.Parallel()
	emit := func(ctx context.Context, r *commands.Registry, id json.RawMessage) error {
		var name string
		if err := json.Unmarshal(id, &name); err != nil {
			return err
		}
		return r.Events().EmitRaw(ctx, name, nil)
	}
	ways := []struct {
		name string
		do   func(ctx context.Context, mid, leaf *commands.Registry, id json.RawMessage) error // in a handler of mid
	}{
		{"itself", func(ctx context.Context, mid, _ *commands.Registry, id json.RawMessage) error {
			return emit(ctx, mid, id)
		}},
		{"with another ctx", func(_ context.Context, mid, _ *commands.Registry, id json.RawMessage) error {
			return emit(context.Background(), mid, id)
		}},
		{"in a goroutine", func(ctx context.Context, mid, _ *commands.Registry, id json.RawMessage) error {
			emitted := make(chan error)
			go func() { emitted <- emit(context.WithoutCancel(ctx), mid, id) }()
			return <-emitted
		}},
		{"by a local call", func(ctx context.Context, mid, _ *commands.Registry, id json.RawMessage) error {
			_, err := mid.ExecuteRaw(ctx, "emit.mid", id)
			return err
		}},
		{"by a remote call", func(ctx context.Context, mid, _ *commands.Registry, id json.RawMessage) error {
			_, err := mid.ExecuteRaw(ctx, "emit.leaf", id)
			return err
		}},
		{"by a remote call with another ctx", func(_ context.Context, mid, _ *commands.Registry, id json.RawMessage) error {
			_, err := mid.ExecuteRaw(context.Background(), "emit.leaf", id)
			return err
		}},
		{"by a nested remote call of a local one", func(ctx context.Context, mid, _ *commands.Registry, id json.RawMessage) error {
			_, err := mid.ExecuteRaw(ctx, "relay.mid", id)
			return err
		}},
	}
	for _, w := range wires {
		for _, noisy := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/noise %v", w.name, noisy), func(t *testing.T) {
				t.Parallel()
				root := newRegistry(t, commands.Config{ID: "root", EventTTL: time.Hour})
				top := newRegistry(t, commands.Config{ID: "top", EventTTL: time.Hour, RouterChannel: "root"})
				mid := newRegistry(t, commands.Config{ID: "mid", EventTTL: time.Hour, RouterChannel: "top"})
				leaf := newRegistry(t, commands.Config{ID: "leaf", EventTTL: time.Hour, RouterChannel: "mid"})
				joinOver(t, w.make, root, top)
				joinOver(t, w.make, top, mid)
				joinOver(t, w.make, mid, leaf)
				for name, r := range map[string]*commands.Registry{"emit.mid": mid, "emit.leaf": leaf} {
					handleFunc(t, r, name, func(ctx context.Context, id json.RawMessage) (json.RawMessage, error) { return nil, emit(ctx, r, id) })
				}
				handleFunc(t, mid, "relay.mid", func(ctx context.Context, id json.RawMessage) (json.RawMessage, error) {
					return mid.ExecuteRaw(ctx, "emit.leaf", id)
				})
				for i, way := range ways {
					handleFunc(t, mid, fmt.Sprint("way", i), func(ctx context.Context, id json.RawMessage) (json.RawMessage, error) {
						return nil, way.do(ctx, mid, leaf, id)
					})
				}
				settle(t, root, top, mid, leaf)
				if noisy {
					noise(t, mid, root)
					noise(t, leaf, root)
				}
				var calls sync.WaitGroup
				for i, way := range ways {
					for c := range 2 {
						id := fmt.Sprintf("done.%d.%d", i, c)
						count := heard(t, root, id)
						calls.Go(func() {
							for n := range 10 {
								_, err := root.ExecuteRaw(within(t), fmt.Sprint("way", i), json.RawMessage(`"`+id+`"`))
								if !assert.NoError(t, err) || !assert.Equal(t, n+1, count(), "emitted %s: the reply was faster than the event", way.name) {
									return
								}
							}
						})
					}
				}
				calls.Wait()
			})
		}
	}
}

// shut attaches a stranger behind a valve, and has it answer the handshake.
func shut(t *testing.T, r *commands.Registry, features bus.Features) (*stranger, *valve) {
	s := &stranger{t: t, sent: make(chan bus.Envelope, 1<<15), in: make(chan *message.Message), end: make(chan struct{})}
	v := &valve{Publisher: s}
	s.Link = attach(t, r, &bus.Channel{ID: "peer", Publisher: v, Out: "o", Subscriber: s, In: "i", Local: true})
	hello := s.wants(bus.ListRequest)
	s.say(bus.Envelope{ID: "list", Type: bus.ListResponse, Thread: hello.ID, Body: []byte("[]"), Features: features})
	await(t, s.Link.Ready())
	return s, v
}

func TestRule04AReplyPassesEventsThatWait(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{})
	handle(t, r, "quick", "1")
	handleFunc(t, r, "emits", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		return nil, r.Events().EmitRaw(ctx, "mine", nil)
	})
	begun, end := make(chan struct{}), make(chan struct{})
	handleFunc(t, r, "slow", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		close(begun)
		<-end
		return nil, nil
	})
	p, v := shut(t, r, everything)
	v.mu.Lock()
	p.say(bus.Envelope{ID: "s", Type: bus.ExecuteRequest, Name: "slow"})
	await(t, begun)
	for range 8191 {
		require.NoError(t, r.Events().EmitRaw(within(t), "noise", nil), "by no handler, though one runs")
	}
	close(end)
	p.say(bus.Envelope{ID: "a", Type: bus.ExecuteRequest, Name: "emits"})
	p.say(bus.Envelope{ID: "b", Type: bus.ExecuteRequest, Name: "quick"})
	p.say(bus.Envelope{ID: "c", Type: bus.ListRequest})
	p.say(bus.Envelope{ID: "d", Type: bus.ExecuteRequest, Name: "unknown"})
	require.Eventually(t, func() bool { return p.Link.Stats().Queued == 8192+5 && r.Stats().Serving == 0 }, patience, time.Millisecond)
	v.mu.Unlock()

	seen := map[string]int{}
	for n := 0; len(seen) < 6; n++ {
		switch e := p.next(); {
		case e.Thread != "":
			seen[e.Thread] = n
		case e.Name == "mine":
			seen["mine"] = n
		}
	}
	for _, id := range []string{"s", "b", "c", "d"} {
		assert.LessOrEqual(t, seen[id], 8, "%s does not wait for events", id)
	}
	assert.Greater(t, seen["a"], seen["mine"], "the reply waits for the event of its handler")
}

func TestRule15WhatMustNotPassAnEventDoesNot(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{RouterChannel: "peer"})
	p, v := shut(t, r, everything|bus.CanGroup)
	v.mu.Lock()
	emitted := func(id string) { require.NoError(t, r.Events().EmitRaw(within(t), id, nil)) }
	emitted("a")
	emitted("b")
	ctx, cancel := context.WithCancel(within(t))
	left := make(chan error)
	go func() { _, err := r.ExecuteRaw(ctx, "remote", nil); left <- err }()
	require.Eventually(t, func() bool { return p.Link.Stats().Queued == 3 }, patience, time.Millisecond)
	cancel()
	require.ErrorIs(t, await(t, left), context.Canceled)
	_, err := r.Events().ListenRaw("g", func(context.Context, string, json.RawMessage) {}, events.ListenOptions{Group: "workers"})
	require.NoError(t, err)
	emitted("c")
	v.mu.Unlock()
	require.NoError(t, p.Link.Close())
	close(p.sent)
	var order []string
	for e := range p.sent {
		order = append(order, string(e.Type)+" "+e.Name)
	}
	assert.Equal(t, []string{"event a", "event b", "execute.command.request remote", "cancel ", "group g", "event c", "goodbye "}, order)
}
