package commands_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
)

// emitting is a log handler that emits an event for each record.
type emitting struct {
	slog.Handler
	hub *atomic.Pointer[events.Hub]
}

func (e emitting) Enabled(context.Context, slog.Level) bool { return true }
func (e emitting) WithAttrs([]slog.Attr) slog.Handler       { return e }
func (e emitting) Handle(ctx context.Context, _ slog.Record) error {
	if hub := e.hub.Load(); hub != nil {
		return hub.EmitRaw(ctx, "log.entry", nil)
	}
	return nil
}

func TestALoggerMayEmitWhatADroppedEventMakesItLog(t *testing.T) {
	t.Parallel()
	var hub atomic.Pointer[events.Hub]
	r := newRegistry(t, commands.Config{Logger: slog.New(emitting{quiet.Handler(), &hub})})
	hub.Store(r.Events())
	stuck, logged := make(chan struct{}), make(chan struct{}, 100)
	_, err := r.Events().ListenRaw("a", func(context.Context, string, json.RawMessage) { <-stuck }, events.ListenOptions{QueueSize: 1})
	require.NoError(t, err)
	_, err = r.Events().ListenRaw("log.entry", func(context.Context, string, json.RawMessage) { logged <- struct{}{} })
	require.NoError(t, err)
	emitted := make(chan struct{})
	go func() {
		for range 5 {
			_ = r.Events().EmitRaw(context.Background(), "a", nil)
		}
		close(emitted)
	}()
	await(t, emitted)
	await(t, logged)
	close(stuck)
}

func TestEventsEmittedBeforeCloseAllArrive(t *testing.T) {
	t.Parallel()
	for _, p := range pairings {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			a, b := newRegistry(t, commands.Config{ID: "a"}), newRegistry(t, commands.Config{ID: "b"})
			_, up := join(t, a, b, p.make())
			var heard atomic.Int64
			_, err := b.Events().ListenRaw(">", func(context.Context, string, json.RawMessage) { heard.Add(1) })
			require.NoError(t, err)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 50 {
						assert.NoError(t, a.Events().EmitRaw(context.Background(), "x.y", []byte(`{"a":1}`)))
					}
				})
			}
			wg.Wait()
			require.NoError(t, a.Close())
			await(t, up.Done())
			require.NoError(t, b.Events().Flush(within(t)))
			require.EqualValues(t, 200, heard.Load())
		})
	}
}

func TestAnEventHeldForAPeerThatComesLaterThanEventTTLIsDelivered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := newRegistry(t, commands.Config{ID: "a"}), newRegistry(t, commands.Config{ID: "b"})
		toB, toA := pairing.InMemory("b", "a")
		attach(t, a, toB)
		require.NoError(t, a.Events().EmitRaw(context.Background(), "x", nil))
		time.Sleep(6 * time.Second) // EventTTL is 5
		var heard atomic.Int64
		_, err := b.Events().ListenRaw("x", func(context.Context, string, json.RawMessage) { heard.Add(1) })
		require.NoError(t, err)
		attach(t, b, toA)
		time.Sleep(10 * time.Second)
		require.EqualValues(t, 1, heard.Load())
	})
}

// slow is a publisher that takes its time.
type slow struct{}

func (slow) Close() error { return nil }
func (slow) Publish(string, ...*message.Message) error {
	time.Sleep(10 * time.Microsecond)
	return nil
}

func TestManyEmittersWaitForAFullLinkAndLoseNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, commands.Config{ID: "a", QueueSize: 8})
		l := attach(t, r, &bus.Channel{ID: "b", Publisher: slow{}, Out: "out"})
		hello, err := bus.Binary.Marshal(bus.Envelope{ID: "1", Type: bus.ListResponse, Thread: "x", Body: []byte("[]"), Features: everything})
		require.NoError(t, err)
		require.NoError(t, l.Deliver(hello))
		await(t, l.Ready())
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				for range 20 {
					assert.NoError(t, r.Events().EmitRaw(context.Background(), "x", nil))
				}
			})
		}
		wg.Wait()
		require.Zero(t, l.Stats().Dropped)
	})
}

func TestEachListenerInAMeshHearsEachEmitterInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const each = 50
		type numbered struct{ From, N int }
		number := events.Define[numbered]("n")
		var rs []*commands.Registry
		for i := range 4 {
			r := newRegistry(t, commands.Config{ID: fmt.Sprintf("r%d", i)})
			for j, peer := range rs {
				join(t, peer, r, pairings[(i+j)%len(pairings)].make())
			}
			rs = append(rs, r)
		}
		var mu sync.Mutex
		heard := map[[2]int][]int{}
		for to, r := range rs {
			_, err := events.Listen(r.Events(), number, func(_ context.Context, v numbered) {
				mu.Lock()
				defer mu.Unlock()
				heard[[2]int{v.From, to}] = append(heard[[2]int{v.From, to}], v.N)
			})
			require.NoError(t, err)
		}
		var want []int
		for n := range each {
			want = append(want, n)
		}
		for from, r := range rs {
			go func() {
				for _, n := range want {
					assert.NoError(t, events.Emit(context.Background(), r.Events(), number, numbered{from, n}))
				}
			}()
		}
		synctest.Wait()
		for from := range rs {
			for to := range rs {
				require.Equal(t, want, heard[[2]int{from, to}], "from %d to %d", from, to)
			}
		}
	})
}
