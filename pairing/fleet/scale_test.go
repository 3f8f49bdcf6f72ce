package fleet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

// crowd is a fleet of many processes on a fake clock, of which each serves "echo" and "wait".
type crowd struct {
	ps  *memory.PubSub
	all []*member
}

// grow lets so many processes more begin at once, and returns how long it takes until all know each other and their commands.
func (c *crowd) grow(t *testing.T, more int) time.Duration {
	t.Helper()
	begun := time.Now()
	for range more {
		m := prepare(t, c.ps, fmt.Sprintf("p%04d", len(c.all)), fleet.Options{})
		serve(t, m, "echo", func(_ context.Context, req json.RawMessage) (json.RawMessage, error) { return req, nil })
		serve(t, m, "wait", waits)
		_, err := m.RegisterChannel(t.Context(), m.fleet.Channel())
		require.NoError(t, err)
		c.all = append(c.all, m)
	}
	for !c.complete() {
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		require.Less(t, time.Since(begun), time.Minute)
	}
	return time.Since(begun)
}

// complete reports whether all know all.
func (c *crowd) complete() bool {
	for _, m := range c.all {
		members := m.fleet.Members()
		if len(members) != len(c.all)-1 {
			return false
		}
		for i := range members {
			if len(members[i].Commands) != 2 {
				return false
			}
		}
	}
	return true
}

// received is how many messages all have received, and the most that one has.
func (c *crowd) received(since map[*member]uint64) (all, most uint64) {
	for _, m := range c.all {
		n := m.fleet.Stats().Received - since[m]
		all, most = all+n, max(most, n)
	}
	return all, most
}

func (c *crowd) now() map[*member]uint64 {
	counts := make(map[*member]uint64, len(c.all))
	for _, m := range c.all {
		counts[m] = m.fleet.Stats().Received
	}
	return counts
}

func (c *crowd) end(t *testing.T) {
	for _, m := range c.all {
		m.end(t)
	}
	require.NoError(t, c.ps.Close())
	synctest.Wait()
}

// TestFleetOfMany: what a process gets in an idle fleet, and what one costs that joins, leaves or dies, does not grow with the number
// of processes; a death is noticed by a caller that waits within a lease and a third.
func TestFleetOfMany(t *testing.T) {
	t.Parallel()
	const lease, idle = 6 * time.Second, 30 * time.Second
	sizes := []int{20, 80}
	if testing.Short() {
		sizes = []int{20}
	}
	for _, size := range sizes {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := &crowd{ps: memory.New(memory.Options{})}
				first := size * 4 / 5
				took := c.grow(t, first)
				before := c.now()
				later := c.grow(t, size-first)
				all, _ := c.received(before)
				t.Logf("%d join at once in %v; %d more in %v, with %d messages", first, took, size-first, later, all)
				require.Less(t, took, 10*time.Second)
				require.Less(t, later, 10*time.Second)

				time.Sleep(2 * lease)
				before = c.now()
				time.Sleep(idle)
				synctest.Wait()
				all, most := c.received(before)
				rate := float64(all) / idle.Seconds() / float64(size)
				t.Logf("idle: %.1f messages a second for each, at most %.1f", rate, float64(most)/idle.Seconds())
				require.Less(t, float64(most)/idle.Seconds(), 20.0)
				require.Less(t, rate, 8.0)

				c.leave(t, rate)
				c.die(t, lease)
				c.leaveAll(t)
				c.end(t)
			})
		})
	}
}

// leave lets one process leave.
func (c *crowd) leave(t *testing.T, rate float64) {
	t.Helper()
	leaver := c.all[0]
	before, begun := c.now(), time.Now()
	require.NoError(t, leaver.fleet.Leave(t.Context()))
	took := time.Since(begun)
	synctest.Wait()
	all, _ := c.received(before)
	t.Logf("one leaves in %v, with %d messages", took, all)
	n := float64(len(c.all))
	require.LessOrEqual(t, float64(all), 2*n+rate*n*took.Seconds()+10)
	c.all = c.all[1:]
	require.NoError(t, leaver.Close())
	require.True(t, c.complete(), "it is forgotten")
}

// die lets one process fall silent.
func (c *crowd) die(t *testing.T, lease time.Duration) {
	t.Helper()
	caller := join(t, c.ps, "caller", fleet.Options{})
	require.NoError(t, caller.fleet.Await(t.Context(), "wait"))
	failed := make(chan time.Time, len(c.all))
	ctx, cancel := context.WithCancel(t.Context())
	for range cap(failed) {
		go func() {
			if _, err := caller.ExecuteRaw(ctx, "wait", nil); errors.Is(err, commands.ErrChannelDisconnected) {
				failed <- time.Now()
			}
		}()
	}
	synctest.Wait()
	i := slices.IndexFunc(c.all, func(m *member) bool { return m.fleet.Stats().Serving > 0 })
	dead := c.all[i]
	c.all = slices.Delete(c.all, i, i+1)
	begun := time.Now()
	dead.line.set(func() { dead.line.cut = true })
	noticed := (<-failed).Sub(begun)
	require.LessOrEqual(t, noticed, lease*4/3)
	cancel()
	synctest.Wait()
	caller.end(t)
	for !c.complete() {
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		require.Less(t, time.Since(begun), 3*lease)
	}
	t.Logf("a death is noticed by the one that waits after %v, by all after %v", noticed, time.Since(begun))
	dead.end(t)
}

// leaveAll lets all but one leave at once.
func (c *crowd) leaveAll(t *testing.T) {
	t.Helper()
	time.Sleep(time.Second)
	before, begun := c.now(), time.Now()
	n := len(c.all)
	var wg sync.WaitGroup
	for _, m := range c.all[1:] {
		wg.Go(func() { _ = m.Shutdown(t.Context()) })
	}
	wg.Wait()
	synctest.Wait()
	all, _ := c.received(before)
	t.Logf("%d leave at once in %v, with %d messages", n-1, time.Since(begun), all)
	require.Less(t, time.Since(begun), 5*time.Second)
	require.LessOrEqual(t, int(all), 3*n*n)
	c.all = c.all[:1]
	require.Empty(t, c.all[0].fleet.Members())
}
