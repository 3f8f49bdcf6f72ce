package fleet_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/pairing/fleet"
)

// TestFleetState: that the broker is away is seen in one call, with the time since, and told; a callback that panics harms nobody.
func TestFleetState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const lease = 6 * time.Second
		ps := memory.New(memory.Options{})
		told := make(chan fleet.State, 10)
		began := time.Now()
		m := prepare(t, ps, "a", fleet.Options{Lease: lease, OnState: func(s fleet.State) {
			told <- s
			panic("a callback's")
		}})
		require.Equal(t, fleet.State{Phase: fleet.Starting, Since: began}, m.fleet.State())
		require.NoError(t, m.fleet.Ready(t.Context()))
		s := <-told
		require.Equal(t, fleet.Connected, s.Phase)
		require.Equal(t, s, m.fleet.State())
		time.Sleep(time.Minute)
		require.Equal(t, s, m.fleet.State(), "it is since it began")

		m.line.set(func() { m.line.down = true })
		down := time.Now()
		s = <-told
		require.Equal(t, fleet.Isolated, s.Phase)
		require.LessOrEqual(t, time.Since(down), lease)
		require.WithinRange(t, s.Since, down.Add(-lease/3), down, "since it was last in touch")
		require.NoError(t, m.fleet.Err(), "it has not ended")
		time.Sleep(time.Hour)
		require.Equal(t, s, m.fleet.State())

		m.line.set(func() { m.line.down = false })
		up := time.Now()
		s = <-told
		require.Equal(t, fleet.Connected, s.Phase)
		require.WithinRange(t, s.Since, up, up.Add(lease))
		time.Sleep(time.Minute)
		require.NoError(t, m.fleet.Close())
		require.Equal(t, fleet.State{Phase: fleet.Ended, Since: time.Now()}, <-told)
		require.Equal(t, fleet.Ended, m.fleet.State().Phase)
		require.Empty(t, told)
		require.NoError(t, m.Close())
		require.NoError(t, ps.Close())
	})
}

// TestFleetIsDownFromTheStart: a broker that is not there when a process begins.
func TestFleetIsDownFromTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ps := memory.New(memory.Options{})
		m := &member{}
		down := &line{PubSub: ps, down: true, subs: map[string]context.CancelFunc{}}
		var err error
		began := time.Now()
		m.fleet, err = fleet.New(t.Context(), down, down, fleet.Options{Namespace: "test", Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		time.Sleep(5 * time.Minute)
		require.Equal(t, fleet.State{Phase: fleet.Starting, Since: began}, m.fleet.State())
		require.NoError(t, m.fleet.Close())
		require.NoError(t, ps.Close())
		synctest.Wait()
	})
}

// TestFleetAwaitNamesWhatIsMissing when its context ends.
func TestFleetAwaitNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	ps := memory.New(memory.Options{})
	t.Cleanup(func() { require.NoError(t, ps.Close()) })
	a, b := join(t, ps, "a", fleet.Options{}), join(t, ps, "b", fleet.Options{})
	t.Cleanup(func() { a.end(t); b.end(t) })
	serve(t, b, "there", waits)
	require.NoError(t, a.fleet.Await(t.Context(), "there"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	err := a.fleet.Await(ctx, "one", "there", "another")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "one, another")
	assert.NotContains(t, err.Error(), "there")
}
