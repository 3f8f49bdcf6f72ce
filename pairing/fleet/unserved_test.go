package fleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing/fleet"
)

// TestRule16EventsForAGroupWhoseLastListenerHasClosedArePassedOn: the process that was picked is alive, and nobody in it
// listens any more when the event comes. Another process gets it; if there is none it is counted.
func TestRule16EventsForAGroupWhoseLastListenerHasClosedArePassedOn(t *testing.T) {
	t.Parallel()
	for _, others := range []int{0, 1, 2} {
		ps := memory.New(memory.Options{})
		emitter, picked := join(t, ps, "emitter", fleet.Options{}), join(t, ps, "picked", fleet.Options{})
		all := []*member{emitter, picked}
		var handled, everything atomic.Int64
		listen := func(m *member, group string, count *atomic.Int64) *events.Listener {
			l, err := m.Events().ListenRaw("e", func(context.Context, string, json.RawMessage) { count.Add(1) }, events.ListenOptions{Group: group})
			require.NoError(t, err)
			return l
		}
		eventually := func(what string, f func() bool) {
			require.Eventually(t, f, 10*time.Second, time.Millisecond, what)
		}
		known := func(by *member, id string, groups int) {
			eventually(id+" is known by "+by.ID(), func() bool {
				return slices.ContainsFunc(by.fleet.Members(), func(m fleet.Member) bool { return m.ID == id && len(m.Groups) == groups })
			})
		}
		leaves := listen(picked, "g", new(atomic.Int64))
		stays := listen(picked, "h", new(atomic.Int64))
		known(emitter, "picked", 2)
		emitter.line.set(func() { emitter.line.hold = func(topic string) bool { return strings.Contains(topic, "events") } })
		const n = 20
		for range n {
			require.NoError(t, emitter.Events().EmitRaw(context.Background(), "e", nil))
		}
		eventually("all are held", func() bool {
			emitter.line.mu.Lock()
			defer emitter.line.mu.Unlock()
			held := 0
			for _, messages := range emitter.line.held {
				held += len(messages)
			}
			return held >= n
		})
		for i := range others {
			other := join(t, ps, fmt.Sprint("other", i), fleet.Options{})
			all = append(all, other)
			listen(other, "g", &handled)
			listen(other, "", &everything)
			known(picked, other.ID(), 1)
		}
		leaves.Close()
		for i := range others {
			known(all[2+i], "picked", 1)
		}
		emitter.line.release(t)
		eventually("the other group", func() bool { return stays.Stats().Handled == n })
		if others == 0 {
			eventually("they are counted", func() bool { return picked.fleet.Stats().Unserved == n })
		} else {
			eventually("another process", func() bool { return handled.Load() == n })
			eventually("those without a group", func() bool { return everything.Load() == int64(n*others) })
		}
		require.EqualValues(t, n, picked.Events().Stats().Passed)
		require.Zero(t, leaves.Stats().Handled)
		for _, m := range all {
			require.NoError(t, m.Events().Flush(context.Background()))
		}
		require.LessOrEqual(t, handled.Load(), int64(n), "none twice")
		require.LessOrEqual(t, everything.Load(), int64(n*others), "none twice")
		for _, m := range all {
			m.end(t)
		}
		require.NoError(t, ps.Close())
	}
}

// TestRule16WhatTheLastListenerOfAGroupHasQueuedIsPassedOn: to another process, or counted.
func TestRule16WhatTheLastListenerOfAGroupHasQueuedIsPassedOn(t *testing.T) {
	t.Parallel()
	for _, others := range []int{0, 1} {
		ps := memory.New(memory.Options{})
		closes := join(t, ps, "closes", fleet.Options{})
		all := []*member{closes}
		var handled atomic.Int64
		for i := range others {
			all = append(all, join(t, ps, fmt.Sprint("other", i), fleet.Options{}))
			_, err := all[1+i].Events().ListenRaw(">", func(context.Context, string, json.RawMessage) { handled.Add(1) }, events.ListenOptions{Group: "g"})
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				return slices.ContainsFunc(closes.fleet.Members(), func(m fleet.Member) bool { return len(m.Groups) == 1 })
			}, 10*time.Second, time.Millisecond)
		}
		const n = 20
		begun, release := make(chan struct{}, n+1), make(chan struct{})
		l, err := closes.Events().ListenRaw("e", func(context.Context, string, json.RawMessage) { begun <- struct{}{}; <-release }, events.ListenOptions{Group: "g"})
		require.NoError(t, err)
		for range n + 1 {
			require.NoError(t, closes.Events().EmitRaw(context.Background(), "e", nil))
		}
		<-begun
		l.Close()
		close(release)
		require.Eventually(t, func() bool {
			return handled.Load() == int64(n*others) && closes.fleet.Stats().Unserved == uint64(n*(1-others))
		}, 10*time.Second, time.Millisecond)
		s := closes.Events().Stats()
		require.EqualValues(t, n, s.Passed)
		require.Zero(t, s.Dropped)
		for _, m := range all {
			m.end(t)
		}
		require.NoError(t, ps.Close())
	}
}
