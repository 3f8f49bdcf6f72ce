package fleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing/fleet"
)

// TestFleetEventRightAfterReady: an event for a group that is emitted as soon as its process is ready finds the group's listener.
func TestFleetEventRightAfterReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ps := memory.New(memory.Options{})
		listener := join(t, ps, "listener", fleet.Options{})
		var heard atomic.Int64
		_, err := listener.Events().ListenRaw("e", func(context.Context, string, json.RawMessage) { heard.Add(1) }, events.ListenOptions{Group: "g"})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		var all []*member
		for i := range 10 {
			m := prepare(t, ps, "emitter-"+strconv.Itoa(i), fleet.Options{})
			m.line.set(func() { m.line.hold = func(topic string) bool { return topic == "test.inbox.listener" } }) // it learns of the group late
			_, err := m.RegisterChannel(t.Context(), m.fleet.Channel())
			require.NoError(t, err)
			require.NoError(t, m.fleet.Ready(t.Context()))
			require.NoError(t, m.Events().EmitRaw(t.Context(), "e", json.RawMessage(strconv.Itoa(i))))
			all = append(all, m)
		}
		synctest.Wait()
		for _, m := range all {
			m.line.release(t)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.EqualValues(t, 10, heard.Load())
		for _, m := range append(all, listener) {
			m.end(t)
		}
		require.NoError(t, ps.Close())
	})
}

// TestFleetAloneEmits: a process that is the only one does not keep its events for long.
func TestFleetAloneEmits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ps := memory.New(memory.Options{})
		m := join(t, ps, "alone", fleet.Options{})
		require.NoError(t, m.Events().EmitRaw(t.Context(), "e", nil))
		begun := time.Now()
		require.NoError(t, m.Events().Flush(t.Context()))
		require.LessOrEqual(t, time.Since(begun), time.Second)
		m.end(t)
		require.NoError(t, ps.Close())
	})
}

// TestFleetTellsOfMembers: OnMember and AwaitMembers say who has come, what it has, and who has gone.
func TestFleetTellsOfMembers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ps := memory.New(memory.Options{})
		var mu sync.Mutex
		var told []string
		watcher := join(t, ps, "watcher", fleet.Options{OnMember: func(e fleet.MemberEvent) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprint(e.Change, " ", e.Member.ID, " ", e.Member.Commands, e.Member.Groups))
			if len(told) == 1 {
				panic("it goes on after that")
			}
		}})
		since := func() []string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			defer func() { told = nil }()
			return slices.Clone(told)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := watcher.fleet.AwaitMembers(ctx, func(members []fleet.Member) bool { return len(members) > 0 })
		require.ErrorIs(t, err, context.DeadlineExceeded)

		listens := func(members []fleet.Member) bool {
			return slices.ContainsFunc(members, func(m fleet.Member) bool { return slices.Contains(m.Groups, "g") })
		}
		awaited := make(chan error, 1)
		go func() { awaited <- watcher.fleet.AwaitMembers(t.Context(), listens) }()
		a := join(t, ps, "a", fleet.Options{})
		require.Equal(t, []string{"joined a [] []"}, since())
		serve(t, a, "echo", waits)
		require.Equal(t, []string{"changed a [echo] []"}, since())
		require.Empty(t, awaited)
		_, err = a.Events().ListenRaw("e", func(context.Context, string, json.RawMessage) {}, events.ListenOptions{Group: "g"})
		require.NoError(t, err)
		require.Equal(t, []string{"changed a [echo] [g]"}, since())
		require.NoError(t, <-awaited)
		require.NoError(t, a.fleet.Leave(t.Context()))
		require.Equal(t, []string{"left a [echo] [g]"}, since())

		go func() { awaited <- watcher.fleet.AwaitMembers(t.Context(), listens) }()
		synctest.Wait()
		watcher.end(t)
		require.Error(t, <-awaited)
		require.NoError(t, a.Close())
		require.NoError(t, ps.Close())
	})
}

// TestFleetLaterTwinStays: of two processes with one ID the one that has begun later stays, whatever their clocks say.
func TestFleetLaterTwinStays(t *testing.T) {
	t.Parallel()
	for name, skew := range map[string]time.Duration{"its clock is behind": -time.Hour, "its clock is ahead": 50 * time.Minute, "its clock is alike": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ps := memory.New(memory.Options{})
				other := join(t, ps, "other", fleet.Options{})
				first := join(t, ps, "twin", fleet.Options{})
				time.Sleep(10 * time.Second)
				later := join(t, ps, "twin", fleet.WithClock(fleet.Options{}, func() time.Time { return time.Now().Add(skew) }))
				serve(t, later, "echo", func(_ context.Context, req json.RawMessage) (json.RawMessage, error) { return req, nil })
				<-first.fleet.Done()
				require.ErrorContains(t, first.fleet.Err(), "same ID")
				require.NoError(t, other.fleet.Await(t.Context(), "echo"))
				_, err := other.ExecuteRaw(t.Context(), "echo", json.RawMessage("1"))
				require.NoError(t, err)
				time.Sleep(time.Minute)
				require.NoError(t, later.fleet.Err())
				require.Len(t, other.fleet.Members(), 1)
				later.end(t)
				other.end(t)
				require.NoError(t, first.Close())
				require.NoError(t, ps.Close())
			})
		})
	}
}

// TestFleetLeaveKeepsToItsContext: a process that leaves waits for those that are alive for as long as it is told, and not longer.
func TestFleetLeaveKeepsToItsContext(t *testing.T) {
	t.Parallel()
	for name, shut := range map[string]func(*member, context.Context) error{
		"Leave":    func(m *member, ctx context.Context) error { return m.fleet.Leave(ctx) },
		"Shutdown": func(m *member, ctx context.Context) error { return m.Shutdown(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, 2, fleet.Options{}, func(t *testing.T, _ *member, team []*member, _ []*atomic.Int64) {
				hold(team[1], "worker-0") // it hears, and its word is late
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				begun := time.Now()
				err := shut(team[0], ctx)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, "1 processes have not confirmed that this one leaves (worker-1)")
				require.Less(t, time.Since(begun), 1500*time.Millisecond)
				require.EqualValues(t, 1, team[0].fleet.Stats().Unconfirmed)
			})
		})
	}
}
