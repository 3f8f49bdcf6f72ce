package bus_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/pairing"
)

func TestRule17WaitReadyEndsWithThePeerTheLinkOrTheContext(t *testing.T) {
	t.Parallel()
	here, there := bus.New(bus.Options{}), bus.New(bus.Options{})
	t.Cleanup(func() { require.NoError(t, errors.Join(here.Close(), there.Close())) })

	toThere, toHere := pairing.InMemory("there", "here")
	link, err := here.Attach(t.Context(), toThere)
	require.NoError(t, err)
	ended, end := context.WithCancel(t.Context())
	end()
	require.ErrorIs(t, link.WaitReady(ended), context.Canceled, "the peer is not there yet")
	_, err = there.Attach(t.Context(), toHere)
	require.NoError(t, err)
	require.NoError(t, link.WaitReady(t.Context()))
	require.NoError(t, link.Close())
	require.NoError(t, link.WaitReady(ended), "it was ready")

	alone, _ := pairing.InMemory("there", "here")
	link, err = here.Attach(t.Context(), alone)
	require.NoError(t, err)
	waited := make(chan error)
	go func() { waited <- link.WaitReady(context.Background()) }()
	require.NoError(t, link.Close())
	require.ErrorIs(t, <-waited, bus.ErrClosed)
}
