package fanout

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"github.com/leatbus/leat/bench/internal/peers"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
)

var tick = events.Define[Tick]("tick")

// LeatMemory emits at one registry of a pair over bus/memory; the listeners are at the other.
func LeatMemory(s Setup) (Fan, error) { return newLeat(s, 2, peers.MemoryPair, typed) }

// LeatMemoryRaw is LeatMemory for payloads that stay bytes.
func LeatMemoryRaw(s Setup) (Fan, error) { return newLeat(s, 2, peers.MemoryPair, raw) }

// LeatGoChannel is LeatMemory over a GoChannel.
func LeatGoChannel(s Setup) (Fan, error) { return newLeat(s, 2, peers.GoChannelPair, typed) }

// LeatMesh joins five registries, each with each. It emits at one; the listeners are spread over the others.
func LeatMesh(s Setup) (Fan, error) { return newLeat(s, 5, peers.MemoryPair, typed) }

type leat struct {
	tally      *tally
	listeners  int
	registries []*commands.Registry
	emit       func(context.Context, *events.Hub, int) error
}

// style is how events are listened to and emitted.
type style struct {
	listen func(*events.Hub, *tally, events.ListenOptions) error
	emit   func(context.Context, *events.Hub, int) error
}

var typed = style{
	listen: func(h *events.Hub, t *tally, o events.ListenOptions) error {
		_, err := events.Listen(h, tick, func(_ context.Context, v Tick) { t.value(v) }, o)
		return err
	},
	emit: func(ctx context.Context, h *events.Hub, i int) error { return events.Emit(ctx, h, tick, Tick{i + 1}) },
}

var rawTick = json.RawMessage(`{"n":1}`)

var raw = style{
	listen: func(h *events.Hub, t *tally, o events.ListenOptions) error {
		_, err := h.ListenRaw("tick", func(_ context.Context, _ string, p json.RawMessage) {
			if len(p) == len(rawTick) {
				t.count()
			}
		}, o)
		return err
	},
	emit: func(ctx context.Context, h *events.Hub, _ int) error { return h.EmitRaw(ctx, "tick", rawTick) },
}

func newLeat(s Setup, registries int, pair func() []pairing.Options, how style) (Fan, error) {
	l := &leat{tally: newTally(), listeners: s.Listeners, emit: how.emit}
	for i := range registries {
		r, err := commands.NewRegistry(commands.Config{ID: fmt.Sprintf("n%d", i), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			l.Close()
			return nil, err
		}
		for _, other := range l.registries {
			if err := peers.Join(other, r, pair()...); err != nil {
				l.Close()
				return nil, err
			}
		}
		l.registries = append(l.registries, r)
	}
	for i := range s.Listeners {
		at := l.registries[1+i%(registries-1)]
		if err := how.listen(at.Events(), l.tally, events.ListenOptions{QueueSize: s.Largest}); err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
}

// Burst flushes the emitter, after which all events are in the listeners' queues, and then the others: their listeners,
// and what they relay.
func (l *leat) Burst(ctx context.Context, n int) error {
	l.tally.expect(n, l.listeners)
	hub := l.registries[0].Events()
	for i := range n {
		if err := l.emit(ctx, hub, i); err != nil {
			return err
		}
	}
	for _, r := range l.registries {
		if err := r.Events().Flush(ctx); err != nil {
			return err
		}
	}
	if err := l.tally.wait(ctx); err != nil {
		return err
	}
	for _, r := range l.registries {
		if d := r.Events().Stats().Dropped; d > 0 {
			return fmt.Errorf("%s dropped %d events", r.ID(), d)
		}
	}
	return nil
}

func (l *leat) Close() {
	for _, r := range l.registries {
		_ = r.Close()
	}
}
