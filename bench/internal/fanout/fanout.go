// Package fanout holds ways to send events to many listeners in one process, behind one small type, so that they can
// be measured side by side. What is counted is work done: a burst ends when every listener has handled every event.
package fanout

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
)

// Fan emits events. Burst and Close are not for concurrent use.
type Fan interface {
	// Burst emits n events and returns when all listeners have handled all of them; it fails if one was lost or came twice.
	Burst(ctx context.Context, n int) error
	Close()
}

// Setup says how many listeners there are, in total, and the largest burst to come.
type Setup struct{ Listeners, Largest int }

// Kind is a way to emit, by name.
type Kind struct {
	Name, About string
	Make        func(Setup) (Fan, error)
}

// All returns the kinds, in the order in which tables show them.
func All() []Kind {
	return []Kind{
		{"channels", "a buffered Go channel per listener; Go values", Channels},
		{"eventbus", "asaskevich/EventBus, on the emitter's goroutine; Go values", EventBus},
		{"cskr-pubsub", "cskr/pubsub, a buffered channel per listener; Go values", CskrPubSub},
		{"moby-pubsub", "moby/pubsub, a buffered channel per listener; Go values", MobyPubSub},
		{"docker-events", "docker/go-events, a broadcaster and a queue per listener; Go values", DockerEvents},
		{"protoactor", "asynkron/protoactor-go, the event stream and an actor per listener; Go values", ProtoActor},
		{"leat-memory", "leat, a pair over bus/memory", LeatMemory},
		{"leat-gochannel", "leat, a pair over GoChannel", LeatGoChannel},
		{"leat-mesh5", "leat, five registries, each joined with each, over bus/memory; listeners at the four others", LeatMesh},
		{"gochannel", "bare GoChannel, a subscription per listener", GoChannel},
		{"watermill-cqrs", "Watermill's EventBus and EventProcessor with its Router, over GoChannel", CQRS},
		{"nats", "core NATS, embedded server, in-process connections, a subscription per listener", NATS},
	}
}

// Tick is the event.
type Tick struct {
	N int `json:"n"`
}

// tally counts what listeners have handled.
type tally struct {
	handled atomic.Int64
	target  atomic.Int64
	reached chan struct{}
}

func newTally() *tally { return &tally{reached: make(chan struct{}, 1)} }

// expect is called before a burst of n events to so many listeners.
func (t *tally) expect(n, listeners int) {
	t.handled.Store(0)
	t.target.Store(int64(n) * int64(listeners))
}

func (t *tally) count() {
	if t.handled.Add(1) == t.target.Load() {
		t.reached <- struct{}{}
	}
}

// value counts an event, if it is one.
func (t *tally) value(v Tick) {
	if v.N > 0 {
		t.count()
	}
}

// bytes counts an event that came as JSON.
func (t *tally) bytes(body []byte) {
	var tick Tick
	if json.Unmarshal(body, &tick) == nil {
		t.value(tick)
	}
}

// wait returns when the count is reached.
func (t *tally) wait(ctx context.Context) error {
	select {
	case <-t.reached:
		return t.exact()
	case <-ctx.Done():
		return fmt.Errorf("%w: %d events handled of %d", ctx.Err(), t.handled.Load(), t.target.Load())
	}
}

// exact fails unless the count is what was expected.
func (t *tally) exact() error {
	if got, want := t.handled.Load(), t.target.Load(); got != want {
		return fmt.Errorf("%d events handled, not %d", got, want)
	}
	return nil
}
