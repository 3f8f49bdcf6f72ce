package fleet_test

import (
	"context"
	"log/slog"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/fleet"
)

// patient is a command whose callers wait for ever.
var patient = commands.Define[pairOf, int]("math.patient", "", commands.Options{TTL: math.MaxInt64})

// TestJoinWithoutBounds: a call that waits for ever is executed on the other side, and an event that lives for ever comes.
func TestJoinWithoutBounds(t *testing.T) {
	t.Parallel()
	ps := memory.New(memory.Options{})
	t.Cleanup(func() { require.NoError(t, ps.Close()) })
	unbounded := func(id, peer string) (*commands.Registry, *bus.Link) {
		r, err := commands.NewRegistry(commands.Config{ID: id, RequestTTL: math.MaxInt64, EventTTL: math.MaxInt64, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, r.Close()) })
		link, err := r.RegisterChannel(t.Context(), pairing.Join(ps, ps, id, peer))
		require.NoError(t, err)
		return r, link
	}
	caller, link := unbounded("caller", "worker")
	worker, _ := unbounded("worker", "caller")
	<-link.Ready()
	require.NoError(t, commands.Register(t.Context(), worker, patient, add))
	heard := make(chan int, 1)
	lasting := events.Define[int]("lasting")
	_, err := events.Listen(worker.Events(), lasting, func(_ context.Context, n int) { heard <- n })
	require.NoError(t, err)
	until(t, "the command is known", func() bool { return len(caller.Commands()) == 1 })

	answers := make(chan answer, 1)
	go func() {
		sum, err := commands.Execute(t.Context(), caller, patient, pairOf{7, 11})
		answers <- answer{sum, err}
	}()
	require.Equal(t, answer{18, nil}, got(t, answers, "the reply"))
	require.NoError(t, events.Emit(t.Context(), caller.Events(), lasting, 4))
	require.Equal(t, 4, got(t, heard, "the event"))
}

// TestFleetWithoutBounds: the same of a call through a fleet, where the difference of two clocks is added to what is left.
func TestFleetWithoutBounds(t *testing.T) {
	t.Parallel()
	ps := memory.New(memory.Options{})
	t.Cleanup(func() { require.NoError(t, ps.Close()) })
	caller, worker := join(t, ps, "caller", fleet.Options{}), join(t, ps, "worker", fleet.Options{})
	t.Cleanup(func() { caller.end(t); worker.end(t) })
	require.NoError(t, commands.Register(t.Context(), worker.Registry, patient, add))
	require.NoError(t, caller.fleet.Await(t.Context(), "math.patient"))
	for i := range 20 {
		answers := make(chan answer, 1)
		go func() {
			sum, err := commands.Execute(t.Context(), caller.Registry, patient, pairOf{i, 1})
			answers <- answer{sum, err}
		}()
		require.Equal(t, answer{i + 1, nil}, got(t, answers, "the reply"))
	}
	require.Zero(t, worker.fleet.Stats().Expired)
}
