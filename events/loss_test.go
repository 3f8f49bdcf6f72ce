package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
)

// stuck returns a listener whose first run waits for release, and has begun.
func stuck(t *testing.T, h *events.Hub, pattern string, release <-chan struct{}, opts ...events.ListenOptions) (*events.Listener, *recorder) {
	t.Helper()
	r, begun := &recorder{}, make(chan struct{})
	var once sync.Once
	l, err := h.ListenRaw(pattern, func(ctx context.Context, id string, p json.RawMessage) {
		once.Do(func() { close(begun) })
		<-release
		r.hear(ctx, id, p)
	}, opts...)
	require.NoError(t, err)
	emit(t, h, strings.ReplaceAll(pattern, "*", "first"), "")
	await(t, begun)
	return l, r
}

// awaitMark waits until a Flush waits.
func awaitMark(h *events.Hub) {
	for !h.WaitsForFlush() {
		runtime.Gosched()
	}
}

// What a listener of a group has queued when it closes is heard by another one of the group.
func TestRule16AListenerThatClosesHandsOverToItsGroup(t *testing.T) {
	t.Parallel()
	h, _ := newHub(t, bus.Options{})
	release := make(chan struct{})
	leaves, left := stuck(t, h, "e", release, inGroup("g"))
	for i := range 100 {
		emit(t, h, "e", fmt.Sprint(i))
	}
	other, elsewhere := record(t, h, "other", inGroup("g")), record(t, h, "e", inGroup("another"))
	stays := record(t, h, "*", inGroup("g"))
	flushed := make(chan error, 1)
	go func() { flushed <- h.Flush(within(t)) }()
	awaitMark(h)
	leaves.Close()
	close(release)
	require.NoError(t, await(t, flushed), "it waits for those that were handed over")
	require.NoError(t, h.Flush(within(t)))
	assert.Len(t, left.all(), 1, "the run that went on")
	assert.Len(t, stays.all(), 100)
	assert.Empty(t, other.all())
	assert.Empty(t, elsewhere.all())
	assert.Zero(t, h.Stats().Dropped)
}

// What no other listener can take over is counted, and Flush says it.
func TestRule16FlushSaysWhatWasNotHandled(t *testing.T) {
	t.Parallel()
	t.Run("a listener closes", func(t *testing.T) {
		t.Parallel()
		h, _ := newHub(t, bus.Options{})
		release := make(chan struct{})
		l, _ := stuck(t, h, "e", release)
		for range 10 {
			emit(t, h, "e", "")
		}
		flushed := make(chan error, 1)
		go func() { flushed <- h.Flush(within(t)) }()
		awaitMark(h)
		l.Close()
		select {
		case err := <-flushed:
			require.Fail(t, "the run goes on", "%v", err)
		default:
		}
		close(release)
		err := await(t, flushed)
		require.ErrorIs(t, err, events.ErrUnhandled)
		require.ErrorContains(t, err, `listener "e" closed: 10 events`)
		assert.EqualValues(t, 10, h.Stats().Dropped)
		require.NoError(t, h.Flush(within(t)))
	})
	t.Run("a listener has no room", func(t *testing.T) {
		t.Parallel()
		h, _ := newHub(t, bus.Options{})
		release := make(chan struct{})
		stuck(t, h, "e", release, events.ListenOptions{QueueSize: 10})
		for range 10 {
			emit(t, h, "e", "")
		}
		flushed := make(chan error, 1)
		go func() { flushed <- h.Flush(within(t)) }()
		awaitMark(h)
		for range 13 { // three of them push out others of these
			emit(t, h, "e", "")
		}
		close(release)
		require.ErrorContains(t, await(t, flushed), "10 events", "of those before it")
	})
	t.Run("the hub closes", func(t *testing.T) {
		t.Parallel()
		h, b := newHub(t, bus.Options{})
		release := make(chan struct{})
		stuck(t, h, "e", release)
		emit(t, h, "e", "")
		flushed := make(chan error, 1)
		go func() { flushed <- h.Flush(within(t)) }()
		awaitMark(h)
		h.Close()
		close(release)
		require.ErrorIs(t, await(t, flushed), events.ErrUnhandled)
		require.ErrorIs(t, h.Flush(within(t)), events.ErrClosed)
		require.NoError(t, b.Close())
		require.ErrorIs(t, h.Flush(within(t)), events.ErrClosed)
	})
	t.Run("the bus closes", func(t *testing.T) {
		t.Parallel()
		h, b := newHub(t, bus.Options{})
		require.NoError(t, b.Close())
		require.ErrorIs(t, h.Flush(within(t)), events.ErrClosed)
	})
}

// A queue is bounded in bytes, whatever the policy.
func TestRule24ListenersQueuesAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	const size, bound = 100_000, 1_000_000
	body := `"` + strings.Repeat("x", size-2) + `"`
	for _, policy := range []events.Overflow{events.DropOldest, events.DropNewest, events.Block} {
		h, _ := newHub(t, bus.Options{})
		release := make(chan struct{})
		l, _ := stuck(t, h, "e", release, events.ListenOptions{QueueBytes: bound, Overflow: policy})
		ctx, cancel := context.WithCancel(within(t))
		n := 0
		for ; n < 50; n++ {
			if policy == events.Block && l.Stats().Queued == bound/size {
				cancel()
			}
			if err := h.EmitRaw(ctx, "e", json.RawMessage(body)); err != nil {
				require.ErrorIs(t, err, context.Canceled)
				break
			}
		}
		cancel()
		s := l.Stats()
		assert.LessOrEqual(t, s.Queued*size, bound)
		assert.GreaterOrEqual(t, s.Queued*size, bound-size)
		assert.EqualValues(t, n-s.Queued, s.Dropped)
		if policy == events.Block {
			assert.Zero(t, s.Dropped)
		}
		close(release)
		require.NoError(t, h.Flush(within(t)))
	}
	h, _ := newHub(t, bus.Options{})
	r := record(t, h, "e", events.ListenOptions{QueueBytes: 10})
	emit(t, h, "e", body)
	require.NoError(t, h.Flush(within(t)))
	assert.Len(t, r.all(), 1, "one event fits, however large")
}

// A peer in another process cannot say which groups there are, nor which ones an event is for.
func TestRule26GroupsOfAnotherProcessAreRefused(t *testing.T) {
	t.Parallel()
	hub, b := newHub(t, bus.Options{ID: "hub"})
	peerHub, peer := newHub(t, bus.Options{ID: "peer"})
	broker := memory.New(memory.Options{})
	defer func() { require.NoError(t, broker.Close()) }()
	here, err := b.Attach(within(t), pairing.Join(broker, broker, "hub", "peer"))
	require.NoError(t, err)
	link, err := peer.Attach(within(t), pairing.Join(broker, broker, "peer", "hub"))
	require.NoError(t, err)
	await(t, here.Ready())
	await(t, link.Ready())
	r := record(t, hub, "e", inGroup("g"))
	const n = 50
	for i := range n {
		require.NoError(t, link.Send(bus.Envelope{Type: bus.Group, Key: fmt.Sprint("g", i), Name: ">", Hops: 1}))
	}
	require.NoError(t, link.Send(bus.Envelope{Type: bus.Event, Name: "e", Groups: new(bus.GroupSet)}))
	require.NoError(t, link.Flush(within(t)))
	require.NoError(t, hub.Flush(within(t)))
	assert.Len(t, r.all(), 1, "the event is for the group all the same")
	assert.EqualValues(t, n, here.Stats().Rejected)
	assert.EqualValues(t, n+1, hub.Stats().Refused)
	assert.Zero(t, peerHub.Stats().Refused)
}

// A peer in this process may announce many groups, but not any number.
func TestRule24AnnouncedGroupsAreBounded(t *testing.T) {
	t.Parallel()
	hub, b := newHub(t, bus.Options{ID: "hub"})
	_, peer := newHub(t, bus.Options{ID: "peer"})
	here, link := join(t, b, peer)
	const bound = 1 << 15
	announce := func(e bus.Envelope) {
		e.Type, e.Key, e.Hops = bus.Group, "g", 1
		for {
			err := link.Send(e)
			if !errors.Is(err, bus.ErrFull) {
				require.NoError(t, err)
				return
			}
			runtime.Gosched()
		}
	}
	for i := range bound + 10 {
		announce(bus.Envelope{Name: fmt.Sprint("e.", i)})
	}
	announce(bus.Envelope{Name: strings.Repeat("x", 1025)})
	require.NoError(t, link.Flush(within(t)))
	assert.EqualValues(t, 11, here.Stats().Rejected)
	assert.EqualValues(t, 11, hub.Stats().Refused)
	_, err := hub.ListenRaw(strings.Repeat("x", 1025), func(context.Context, string, json.RawMessage) {}, inGroup("g"))
	require.ErrorContains(t, err, "1025")
}
