package events_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/events"
)

func TestBlockDropsNothingOfManyEmitters(t *testing.T) {
	t.Parallel()
	h, _ := newHub(t, bus.Options{})
	var heard atomic.Int64
	l, err := h.ListenRaw("a", func(context.Context, string, json.RawMessage) { heard.Add(1) },
		events.ListenOptions{QueueSize: 4, Overflow: events.Block})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 200 {
				assert.NoError(t, h.EmitRaw(context.Background(), "a", nil))
			}
		})
	}
	wg.Wait()
	require.NoError(t, h.Flush(within(t)))
	require.Zero(t, l.Stats().Dropped)
	require.EqualValues(t, 3200, heard.Load())
}

func TestAListenerThatEndsItsGoroutineHearsTheNextEvent(t *testing.T) {
	t.Parallel()
	h, _ := newHub(t, bus.Options{})
	var heard atomic.Int64
	_, err := h.ListenRaw("a", func(context.Context, string, json.RawMessage) {
		heard.Add(1)
		runtime.Goexit() // as t.FailNow does
	})
	require.NoError(t, err)
	emit(t, h, "a", "")
	emit(t, h, "a", "")
	require.NoError(t, h.Flush(within(t)))
	require.EqualValues(t, 2, heard.Load())
}

func TestTheZeroEventIsNotEmitted(t *testing.T) {
	t.Parallel()
	h, _ := newHub(t, bus.Options{})
	all := record(t, h, ">")
	var zero events.Event[int]
	require.Error(t, events.Emit(within(t), h, zero, 1))
	require.NoError(t, h.Flush(within(t)))
	require.Empty(t, all.all())
}

func TestDefineRefusesAWildcardInsideAToken(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"a*b", "a.b*", "a>", ">a.b", "a.*b.c"} {
		require.Panics(t, func() { events.Define[int](id) }, id)
	}
}

// It measures the heap, so it runs alone.
func TestFlushesThatAreGivenUpLeaveNothingInAStuckListener(t *testing.T) {
	h, _ := newHub(t, bus.Options{})
	began, stuck := make(chan struct{}), make(chan struct{})
	_, err := h.ListenRaw("a", func(context.Context, string, json.RawMessage) {
		close(began)
		<-stuck
	})
	require.NoError(t, err)
	defer close(stuck)
	emit(t, h, "a", "")
	await(t, began)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	before := heap()
	for range 20_000 {
		require.ErrorIs(t, h.Flush(ctx), context.Canceled)
	}
	require.Less(t, heap()-before, int64(1<<20), "bytes kept")
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Listeners with the policy Block that emit to each other go on when all of them are full: what is dropped for it is
// counted, and it is logged.
func TestRule23BlockingListenersThatEmitInACircleDoNotStop(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 5} {
		var out lockedBuffer
		h, _ := newHub(t, bus.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
		const rounds = 200
		var runs atomic.Int64
		done := make(chan struct{})
		opts := events.ListenOptions{QueueSize: 4, Overflow: events.Block}
		for i := range n {
			_, err := h.ListenRaw(fmt.Sprint("e.", i), func(ctx context.Context, _ string, _ json.RawMessage) {
				if runs.Add(1) == rounds {
					close(done)
				}
				if runs.Load() >= rounds {
					return
				}
				for range 3 {
					if err := h.EmitRaw(ctx, fmt.Sprint("e.", (i+1)%n), nil); err != nil {
						t.Error(err)
					}
				}
			}, opts)
			require.NoError(t, err)
		}
		emit(t, h, "e.0", "")
		await(t, done)
		require.Eventually(t, func() bool {
			s := h.Stats()
			return s.Queued == 0 && s.Emitted == uint64(runs.Load())+s.Dropped
		}, patience, time.Millisecond, "each event ran or was counted")
		require.Positive(t, h.Stats().Dropped)
		if n > 1 {
			require.Eventually(t, func() bool { return strings.Contains(out.String(), "emit to each other") }, patience, time.Millisecond)
		}
	}
}

// lockedBuffer is a buffer for loggers.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
