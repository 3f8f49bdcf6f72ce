package events_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/events"
)

func inGroup(name string) events.ListenOptions { return events.ListenOptions{Group: name} }

func TestGroupListenersOfOneRegistryTakeTurns(t *testing.T) {
	t.Parallel()
	h, _ := newHub(t, bus.Options{})
	mail := []*recorder{record(t, h, "e", inGroup("mail")), record(t, h, "e", inGroup("mail")), record(t, h, ">", inGroup("mail"))}
	audit := []*recorder{record(t, h, "*", inGroup("audit")), record(t, h, "e", inGroup("audit"))}
	plain := record(t, h, "e")
	for i := range 60 {
		emit(t, h, "e", fmt.Sprint(i))
	}
	require.NoError(t, h.Flush(within(t)))
	assert.Len(t, plain.all(), 60, "without a group")
	for name, group := range map[string][]*recorder{"mail": mail, "audit": audit} {
		var all []string
		for _, r := range group {
			got := r.all()
			assert.Len(t, got, 60/len(group), "%s: in turn", name)
			last := -1
			for _, e := range got {
				var n int
				_, err := fmt.Sscanf(e, "e%d", &n)
				require.NoError(t, err)
				assert.Greater(t, n, last, "%s: in order", name)
				last = n
			}
			all = append(all, got...)
		}
		assert.ElementsMatch(t, plain.all(), all, "%s: each once", name)
	}
}

func TestGroupOfPatternsGetsAnEventOnce(t *testing.T) {
	t.Parallel()
	h, _ := newHub(t, bus.Options{})
	group := []*recorder{record(t, h, "user.*", inGroup("g")), record(t, h, "user.created", inGroup("g")), record(t, h, "user.>", inGroup("g"))}
	var want []string
	for i := range 30 {
		for _, id := range []string{"user.created", "user.gone", "user.created.again", "_private", "order.created"} {
			if strings.HasPrefix(id, "user") {
				want = append(want, fmt.Sprint(id, i))
			}
			emit(t, h, id, fmt.Sprint(i))
		}
	}
	require.NoError(t, h.Flush(within(t)))
	var got []string
	for _, r := range group {
		got = append(got, r.all()...)
	}
	assert.ElementsMatch(t, want, got)
}

func TestGroupOfPrivateEventsIsServed(t *testing.T) {
	t.Parallel()
	h, _ := newHub(t, bus.Options{})
	one, two := record(t, h, "_p", inGroup("g")), record(t, h, "_p", inGroup("g"))
	emit(t, h, "_p", "1")
	emit(t, h, "_p", "2")
	require.NoError(t, h.Flush(within(t)))
	assert.Equal(t, []string{"_p1"}, one.all())
	assert.Equal(t, []string{"_p2"}, two.all())
}

func TestGroupNames(t *testing.T) {
	t.Parallel()
	h, _ := newHub(t, bus.Options{})
	for name, ok := range map[string]bool{"": true, "a": true, "A-b_c.9": true, strings.Repeat("x", 128): true,
		strings.Repeat("x", 129): false, "a b": false, "a,b": false, "a=b": false, "ü": false, "*": false} {
		_, err := h.ListenRaw("e", func(context.Context, string, json.RawMessage) {}, inGroup(name))
		assert.Equal(t, ok, err == nil, name)
	}
}

// A listener that closes takes what waits in its queue with it, counted, and nothing else.
func TestGroupListenersComeAndGoUnderLoad(t *testing.T) {
	t.Parallel()
	h, _ := newHub(t, bus.Options{})
	var mu sync.Mutex
	times, handled, dropped := map[string]int{}, 0, 0
	hear := func(_ context.Context, _ string, p json.RawMessage) {
		mu.Lock()
		defer mu.Unlock()
		times[string(p)]++
	}
	account := func(l *events.Listener) {
		l.Close()
		await(t, l.Done())
		s := l.Stats()
		mu.Lock()
		defer mu.Unlock()
		handled, dropped = handled+int(s.Handled), dropped+int(s.Dropped)
	}
	stays, err := h.ListenRaw("e", hear, inGroup("g"))
	require.NoError(t, err)
	const count = 2000
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 100 {
				l, err := h.ListenRaw("*", hear, inGroup("g"))
				if assert.NoError(t, err) {
					account(l)
				}
			}
		})
	}
	for i := range count {
		emit(t, h, "e", fmt.Sprint(i))
	}
	wg.Wait()
	require.NoError(t, h.Flush(within(t)))
	account(stays)
	assert.Equal(t, count, handled+dropped, "each event went to one listener")
	assert.Len(t, times, handled, "none ran twice")
}

// Over pairs each registry is its own: each serves the group once, whoever emits, and through relays.
func TestGroupOverPairsEachRegistryIsItsOwn(t *testing.T) {
	t.Parallel()
	a, ba := newHub(t, bus.Options{ID: "a"})
	b, bb := newHub(t, bus.Options{ID: "b"})
	c, bc := newHub(t, bus.Options{ID: "c"})
	join(t, ba, bb)
	join(t, bb, bc)
	groups := map[string][]*recorder{}
	for name, h := range map[string]*events.Hub{"a": a, "c": c} {
		groups[name] = []*recorder{record(t, h, "e", inGroup("g")), record(t, h, ">", inGroup("g"))}
	}
	want := map[string]int{}
	for i := range 60 {
		emit(t, []*events.Hub{a, b, c}[i%3], "e", fmt.Sprint(i))
		want[fmt.Sprint("e", i)] = 1
	}
	for range 3 {
		for _, h := range []*events.Hub{a, b, c} {
			require.NoError(t, h.Flush(within(t)))
		}
	}
	for name, group := range groups {
		got := map[string]int{}
		for _, r := range group {
			assert.Len(t, r.all(), 30, "%s: in turn", name)
			for _, e := range r.all() {
				got[e]++
			}
		}
		assert.True(t, maps.Equal(want, got), "%s: %v", name, got)
	}
}

// A listener that is stuck costs the group no event while another has room.
func TestGroupPassesOverWhoHasNoRoom(t *testing.T) {
	t.Parallel()
	h, _ := newHub(t, bus.Options{})
	release, begun := make(chan struct{}), make(chan struct{}, 100)
	stuck, err := h.ListenRaw("e", func(context.Context, string, json.RawMessage) {
		begun <- struct{}{}
		<-release
	}, events.ListenOptions{Group: "g", QueueSize: 2})
	require.NoError(t, err)
	emit(t, h, "e", "0")
	await(t, begun)
	works := record(t, h, "e", inGroup("g"))
	for i := range 50 {
		emit(t, h, "e", fmt.Sprint(i+1))
	}
	await(t, works.reached(48))
	assert.Equal(t, 2, stuck.Stats().Queued)
	close(release)
	require.NoError(t, h.Flush(within(t)))
	assert.EqualValues(t, 3, stuck.Stats().Handled)
	assert.Zero(t, stuck.Stats().Dropped)
	assert.Len(t, works.all(), 48)
}

// Events without groups pay nothing for those that there are.
func TestGroupsCostOtherEventsNoAllocation(t *testing.T) {
	measure := func(opts ...events.ListenOptions) float64 {
		h, _ := newHub(t, bus.Options{})
		record(t, h, "other.>", opts...)
		ctx := context.Background()
		return testing.AllocsPerRun(2000, func() { _ = h.EmitRaw(ctx, "e", nil) })
	}
	assert.Equal(t, measure(), measure(inGroup("g")))
}
