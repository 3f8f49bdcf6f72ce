package fleet_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/fleet"
)

// often is how often something is asked that must not be left to chance.
const often = 50

// TestReadyDoesNotDependOnChance: what is ready says so whatever the ctx, and what has ended says that, each time.
func TestReadyDoesNotDependOnChance(t *testing.T) {
	t.Parallel()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	ps := memory.New(memory.Options{})
	t.Cleanup(func() { require.NoError(t, ps.Close()) })
	m := join(t, ps, "m", fleet.Options{})
	a, b := registry(t, "a", ""), registry(t, "b", "")
	toB, toA := pairing.InMemory("b", "a")
	conn := pairing.Connect(t.Context(), a, func() (*bus.Channel, error) { return toB, nil })
	_, err := b.RegisterChannel(t.Context(), toA)
	require.NoError(t, err)
	require.NoError(t, conn.Ready(t.Context()))
	for range often {
		require.NoError(t, m.fleet.Ready(over))
		require.NoError(t, conn.Ready(over))
	}
	require.NoError(t, conn.Close())
	m.end(t)
	for range often {
		require.ErrorIs(t, m.fleet.Ready(t.Context()), bus.ErrClosed)
		require.ErrorIs(t, conn.Ready(t.Context()), bus.ErrClosed)
	}
}
