package events_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/events"
)

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern string
		yes, no []string
	}{
		{"user.created", []string{"user.created"}, []string{"user", "user.created.x", "user.Created", ""}},
		{"user.*", []string{"user.created", "user._x"}, []string{"user", "user.a.b", "users.a"}},
		{"*.created", []string{"user.created"}, []string{"created", "a.b.created"}},
		{"*", []string{"user", "_user"}, []string{"user.created"}},
		{"user.>", []string{"user.a", "user.a.b"}, []string{"user", "users.a"}},
		{">", []string{"a", "a.b.c", "_private"}, nil},
		{"*.>", []string{"a.b", "a.b.c"}, []string{"a"}},
		{"a.*.c.>", []string{"a.b.c.d", "a.b.c.d.e"}, []string{"a.b.c", "a.b.x.d"}},
	} {
		h, _ := newHub(t, bus.Options{})
		r := record(t, h, tc.pattern)
		for _, id := range append(slices.Clone(tc.no), tc.yes...) {
			if id != "" {
				emit(t, h, id, "")
			}
		}
		require.NoError(t, h.Flush(within(t)))
		assert.Equal(t, tc.yes, r.all(), tc.pattern)
	}
	h, _ := newHub(t, bus.Options{})
	for _, bad := range []string{"", "user*", "user.>.x", "a>", "**", "user.cre*ted", "a..b", ".", "a."} {
		_, err := h.ListenRaw(bad, func(context.Context, string, json.RawMessage) {})
		assert.Error(t, err, bad)
	}
	for _, bad := range []string{"", "*", "user.*", "user.>", "a..b", ".", "user."} {
		assert.Error(t, h.EmitRaw(within(t), bad, nil), bad)
	}
}

func TestRule13PrivateEventsStayHere(t *testing.T) {
	t.Parallel()
	a, ba := newHub(t, bus.Options{ID: "a"})
	b, bb := newHub(t, bus.Options{ID: "b"})
	join(t, ba, bb)
	here, there := record(t, a, ">"), record(t, b, ">")
	emit(t, a, "_audit", `1`)
	emit(t, a, "public", `2`)
	require.NoError(t, a.Flush(within(t)))
	require.NoError(t, b.Flush(within(t)))
	assert.Equal(t, []string{"_audit1", "public2"}, here.all())
	assert.Equal(t, []string{"public2"}, there.all())
}

// mesh joins n hubs with each other.
func mesh(t testing.TB, n int, edges func(i, j int) bool) (hubs []*events.Hub, buses []*bus.Bus) {
	for i := range n {
		h, b := newHub(t, bus.Options{ID: fmt.Sprint("hub", i), EventTTL: time.Minute})
		for j := range i {
			if edges(j, i) {
				join(t, buses[j], b)
			}
		}
		hubs, buses = append(hubs, h), append(buses, b)
	}
	return hubs, buses
}

func TestRule14FullMeshOfFiveWithAThousandEvents(t *testing.T) {
	t.Parallel()
	const n, each = 5, 200
	hubs, buses := mesh(t, n, func(i, j int) bool { return true })
	var heard []*recorder
	for _, h := range hubs {
		heard = append(heard, record(t, h, ">"))
	}
	var wg sync.WaitGroup
	for i, h := range hubs {
		wg.Go(func() {
			for k := range each {
				emit(t, h, fmt.Sprint("from.", i), fmt.Sprint(k))
			}
		})
	}
	wg.Wait()
	for _, r := range heard {
		await(t, r.reached(n*each))
	}
	for range 3 {
		for _, h := range hubs {
			require.NoError(t, h.Flush(within(t)))
		}
	}
	for i, r := range heard {
		got := r.all()
		require.Len(t, got, n*each, "each event once")
		next := map[string]int{}
		for _, e := range got {
			from := e[:6]
			require.Equal(t, fmt.Sprint(from, next[from]), e, "hub %d hears each emitter in its order", i)
			next[from]++
		}
		assert.Positive(t, buses[i].Stats().Duplicates)
		assert.Zero(t, buses[i].Stats().Evicted)
	}
}

func TestRule15TwoLinksBringTheEventsInOneOrder(t *testing.T) {
	t.Parallel()
	// A diamond: 0 to 1 and 2, both to 3.
	hubs, _ := mesh(t, 4, func(i, j int) bool { return i+j != 3 })
	r := record(t, hubs[3], "n")
	for k := range 2000 {
		emit(t, hubs[0], "n", fmt.Sprint(k))
	}
	await(t, r.reached(2000))
	for _, h := range hubs {
		require.NoError(t, h.Flush(within(t)))
	}
	got := r.all()
	require.Len(t, got, 2000)
	for k, e := range got {
		require.Equal(t, fmt.Sprint("n", k), e)
	}
}

func TestRule14DedupeHoldsForTheEventTTLAndIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, ba := newHub(t, bus.Options{ID: "a", EventTTL: time.Second, DedupeKeys: 4})
		h, bh := newHub(t, bus.Options{ID: "b"})
		h.Close()
		_, l := join(t, ba, bh)
		r := record(t, a, ">")
		say := func(id string) {
			require.NoError(t, l.Send(bus.Envelope{ID: id, Type: bus.Event, Name: "e"}))
			require.NoError(t, l.Flush(within(t)))
		}
		say("1")
		say("1")
		time.Sleep(999 * time.Millisecond)
		say("1")
		require.NoError(t, a.Flush(within(t)))
		assert.Len(t, r.all(), 1)
		assert.EqualValues(t, 2, ba.Stats().Duplicates)
		time.Sleep(3 * time.Second)
		assert.Zero(t, ba.Stats().EventKeys, "memory shrinks without traffic")
		for i := range 5 {
			say(fmt.Sprint("new", i))
		}
		assert.EqualValues(t, 1, ba.Stats().Evicted)
		assert.LessOrEqual(t, ba.Stats().EventKeys, 4)
		time.Sleep(3 * time.Second)
	})
}

func TestRule14HopsAndAgeBoundTheRelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, ba := newHub(t, bus.Options{ID: "a"})
		_, mid := newHub(t, bus.Options{ID: "mid", EventTTL: time.Second})
		c, bc := newHub(t, bus.Options{ID: "c"})
		up, _ := join(t, ba, mid)
		join(t, mid, bc)
		_ = a
		r := record(t, c, ">")
		send := func(e bus.Envelope) {
			e.Type, e.Name = bus.Event, "e."+e.ID
			require.NoError(t, up.Send(e))
			require.NoError(t, up.Flush(within(t)))
		}
		send(bus.Envelope{ID: "far", Hops: 15})
		send(bus.Envelope{ID: "toofar", Hops: 16})
		send(bus.Envelope{ID: "fresh", Life: time.Millisecond})
		require.NoError(t, mid.Link("c").Flush(within(t)))
		require.NoError(t, c.Flush(within(t)))
		assert.Equal(t, []string{"e.far", "e.fresh"}, r.all())
	})
}

func TestRule16OverflowPolicies(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		policy events.Overflow
		want   []string
	}{
		{events.DropOldest, []string{"n0", "n7", "n8", "n9"}},
		{events.DropNewest, []string{"n0", "n1", "n2", "n3"}},
	} {
		h, _ := newHub(t, bus.Options{})
		r := &recorder{}
		began, release := make(chan struct{}), make(chan struct{})
		var once sync.Once
		l, err := h.ListenRaw("n", func(ctx context.Context, id string, p json.RawMessage) {
			once.Do(func() { close(began); <-release })
			r.hear(ctx, id, p)
		}, events.ListenOptions{QueueSize: 3, Overflow: tc.policy})
		require.NoError(t, err)
		emit(t, h, "n", "0")
		await(t, began)
		for i := range 9 {
			emit(t, h, "n", fmt.Sprint(i+1))
		}
		assert.EqualValues(t, 6, l.Stats().Dropped)
		assert.EqualValues(t, 6, h.Stats().Dropped)
		assert.Equal(t, 3, l.Stats().Queued)
		close(release)
		require.NoError(t, h.Flush(within(t)))
		assert.Equal(t, tc.want, r.all())
		assert.EqualValues(t, 4, l.Stats().Handled)
	}
}

func TestRule16BlockHoldsUpTheLocalEmitterOnly(t *testing.T) {
	t.Parallel()
	a, ba := newHub(t, bus.Options{ID: "a"})
	b, bb := newHub(t, bus.Options{ID: "b"})
	join(t, ba, bb)
	release := make(chan struct{})
	var handled atomic.Int64
	_, err := a.ListenRaw("n", func(context.Context, string, json.RawMessage) { <-release; handled.Add(1) },
		events.ListenOptions{QueueSize: 1, Overflow: events.Block})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var stuck error
	for i := 0; stuck == nil; i++ { // one runs, one waits, the third does not fit
		ctx := ctx
		if i >= 2 {
			var c context.CancelFunc
			ctx, c = context.WithTimeout(ctx, 20*time.Millisecond)
			defer c()
		}
		stuck = a.EmitRaw(ctx, "n", nil)
		require.Less(t, i, 5)
	}
	cancel()
	require.ErrorIs(t, stuck, context.DeadlineExceeded)
	for range 100 { // the peer is not held up
		emit(t, b, "n", "")
	}
	require.NoError(t, b.Flush(within(t)))
	done := make(chan error, 1)
	go func() { done <- a.EmitRaw(within(t), "n", nil) }()
	close(release)
	require.NoError(t, await(t, done))
	require.NoError(t, a.Flush(within(t)))
	assert.EqualValues(t, uint64(handled.Load()), a.Stats().Emitted+100-a.Stats().Dropped)
}

func TestRule16ASlowOrPanickingListenerHarmsOnlyItself(t *testing.T) {
	t.Parallel()
	h, _ := newHub(t, bus.Options{})
	release := make(chan struct{})
	_, err := h.ListenRaw("n", func(context.Context, string, json.RawMessage) { <-release })
	require.NoError(t, err)
	panics, err := h.ListenRaw("n", func(context.Context, string, json.RawMessage) { panic("listener") })
	require.NoError(t, err)
	r := record(t, h, "n")
	for range 10 {
		emit(t, h, "n", "")
	}
	await(t, r.reached(10))
	close(release)
	require.NoError(t, h.Flush(within(t)))
	assert.EqualValues(t, 10, h.Stats().Panics)
	panics.Close()
	await(t, panics.Done())
}

func TestListenersThatEmitToEachOther(t *testing.T) {
	t.Parallel()
	a, ba := newHub(t, bus.Options{ID: "a"})
	b, bb := newHub(t, bus.Options{ID: "b"})
	join(t, ba, bb)
	const rounds = 1000
	done := make(chan struct{})
	bounce := func(h *events.Hub, to string) func(context.Context, string, json.RawMessage) {
		return func(ctx context.Context, _ string, p json.RawMessage) {
			var n int
			_ = json.Unmarshal(p, &n)
			if n == rounds {
				close(done)
				return
			}
			assert.LessOrEqual(t, bus.Depth(ctx), bus.MaxDepth, "there is room for the calls of a listener")
			assert.NoError(t, h.EmitRaw(ctx, to, json.RawMessage(fmt.Sprint(n+1))))
		}
	}
	_, err := a.ListenRaw("ping", bounce(a, "pong"))
	require.NoError(t, err)
	_, err = b.ListenRaw("pong", bounce(b, "ping"))
	require.NoError(t, err)
	emit(t, b, "ping", "0")
	await(t, done)
}

func TestFlushInsideAListenerDoesNotWaitForItself(t *testing.T) {
	t.Parallel()
	h, _ := newHub(t, bus.Options{})
	flushed := make(chan error, 1)
	_, err := h.ListenRaw("n", func(ctx context.Context, _ string, _ json.RawMessage) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		flushed <- h.Flush(ctx)
	})
	require.NoError(t, err)
	emit(t, h, "n", "")
	require.NoError(t, await(t, flushed))
}

func TestFlushEndsWithItsContextAndWithTheLink(t *testing.T) {
	t.Parallel()
	h, b := newHub(t, bus.Options{})
	release := make(chan struct{})
	_, err := h.ListenRaw("n", func(context.Context, string, json.RawMessage) { <-release })
	require.NoError(t, err)
	emit(t, h, "n", "")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, h.Flush(ctx), context.Canceled)
	close(release)
	require.NoError(t, h.Flush(within(t)))
	_, other := newHub(t, bus.Options{ID: "other"})
	la, _ := join(t, b, other)
	require.NoError(t, la.Close())
	require.NoError(t, h.Flush(within(t)), "a link that is gone is not waited for")
	require.ErrorIs(t, la.Flush(within(t)), bus.ErrClosed)
}

type user struct {
	Name string `json:"name"`
	Age  int    `json:"age"`
}

var userCreated = events.Define[user]("user.created")

func TestTypedEventsGiveEachListenerACopy(t *testing.T) {
	t.Parallel()
	tags := events.Define[[]string]("tags")
	h, _ := newHub(t, bus.Options{})
	got := make(chan []string, 2)
	for range 2 {
		_, err := events.Listen(h, tags, func(_ context.Context, v []string) { v[0] += "!"; got <- v })
		require.NoError(t, err)
	}
	mine := []string{"a"}
	require.NoError(t, events.Emit(within(t), h, tags, mine))
	assert.Equal(t, []string{"a!"}, await(t, got))
	assert.Equal(t, []string{"a!"}, await(t, got))
	assert.Equal(t, []string{"a"}, mine)
}

func TestTypedListenersAreTolerantOfMembersAndStrictAboutTypes(t *testing.T) {
	t.Parallel()
	h, _ := newHub(t, bus.Options{})
	got := make(chan user, 10)
	_, err := events.Listen(h, userCreated, func(_ context.Context, u user) { got <- u })
	require.NoError(t, err)
	for _, p := range []string{`{"name":"Ada","age":36}`, `{"name":"Bob","later":true}`, `{"name":7}`, `[]`} {
		emit(t, h, "user.created", p)
	}
	require.NoError(t, h.Flush(within(t)))
	close(got)
	var names []string
	for u := range got {
		names = append(names, u.Name)
	}
	assert.Equal(t, []string{"Ada", "Bob"}, names)
	assert.EqualValues(t, 2, h.Stats().Misfits)
	for _, bad := range []string{`{`, `{"name":"x","name":"y"}`, `1 2`} {
		require.Error(t, h.EmitRaw(within(t), "user.created", json.RawMessage(bad)), bad)
	}
}

func TestVoidEvents(t *testing.T) {
	t.Parallel()
	tick := events.Define[struct{}]("tick")
	h, _ := newHub(t, bus.Options{})
	raw := record(t, h, "tick")
	got := make(chan struct{}, 4)
	_, err := events.Listen(h, tick, func(context.Context, struct{}) { got <- struct{}{} })
	require.NoError(t, err)
	require.NoError(t, events.Emit(within(t), h, tick, struct{}{}))
	emit(t, h, "tick", "{}")
	emit(t, h, "tick", "null")
	require.NoError(t, h.Flush(within(t)))
	assert.Len(t, got, 3)
	assert.Equal(t, []string{"tick", "tick{}", "ticknull"}, raw.all())
}

func TestDefinePanicsNamingTheCulprit(t *testing.T) {
	t.Parallel()
	for id, define := range map[string]func(){
		"bad.chan": func() { events.Define[chan int]("bad.chan") },
		"user.*":   func() { events.Define[int]("user.*") },
	} {
		func() {
			defer func() { assert.Contains(t, fmt.Sprint(recover()), id) }()
			define()
		}()
	}
}

func TestCloseOfAListenerFromItself(t *testing.T) {
	t.Parallel()
	h, _ := newHub(t, bus.Options{})
	var l *events.Listener
	var runs atomic.Int64
	ready := make(chan struct{})
	var err error
	l, err = h.ListenRaw("n", func(context.Context, string, json.RawMessage) {
		<-ready
		runs.Add(1)
		l.Close()
	})
	require.NoError(t, err)
	for range 5 {
		emit(t, h, "n", "")
	}
	close(ready)
	await(t, l.Done())
	assert.EqualValues(t, 1, runs.Load())
	assert.EqualValues(t, 4, l.Stats().Dropped)
	assert.Zero(t, h.Stats().Listeners)
	emit(t, h, "n", "")
}

func TestEmitIsSafeFromManyGoroutinesWhileListenersComeAndGo(t *testing.T) {
	t.Parallel()
	h, _ := newHub(t, bus.Options{})
	steady := record(t, h, "n.>")
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 250 {
				emit(t, h, fmt.Sprintf("n.%d", g), fmt.Sprint(i))
			}
		})
		wg.Go(func() {
			for range 100 {
				l, err := h.ListenRaw(strings.Repeat("n.", g%2)+">", func(context.Context, string, json.RawMessage) {})
				if assert.NoError(t, err) {
					l.Close()
					await(t, l.Done())
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, h.Flush(within(t)))
	assert.Len(t, steady.all(), 1000)
	assert.Equal(t, 1, h.Stats().Listeners)
}
