package brokers_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
	"github.com/leatbus/leat/pairing/pairingtest"
)

// TestFleetConforms runs the fleet's conformance kit over each broker. Each process of
// a test has a connection of its own, unless the backend is one of this process.
func TestFleetConforms(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		shared := k.openAt(t, k.kit(t))
		pairingtest.RunFleet(t, func(t testing.TB) (message.Publisher, message.Subscriber, fleet.Options) {
			return shared.Publisher(), shared.Subscriber(), fleet.Options{Topic: shared.Topic}
		}, pairingtest.Features{Ordered: true, Slowness: k.slowness, Fewer: 10})
	})
}

var double = commands.Define[int, int]("double", "Twice a number")

var silent = slog.New(slog.DiscardHandler)

// process is one of a fleet: a registry, on a connection of its own.
func process(t testing.TB, b *brokers.Broker, o fleet.Options) (*commands.Registry, *fleet.Fleet) {
	t.Helper()
	r := registry(t, commands.Config{ID: o.ID})
	f, err := b.Fleet(t.Context(), o)
	require.NoError(t, err)
	_, err = r.RegisterChannel(t.Context(), f.Channel())
	require.NoError(t, err)
	return r, f
}

func registry(t testing.TB, c commands.Config) *commands.Registry {
	t.Helper()
	c.Logger = silent
	r, err := commands.NewRegistry(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// A fleet made by Broker.Fleet works with nothing but a name of its own, in a namespace and
// under an ID that no broker takes as they are; and what is too large for the broker
// is a coded error, at once.
func TestBrokerFleet(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		b := k.open(t)
		worker, _ := process(t, b, fleet.Options{ID: "worker.1."})
		require.NoError(t, commands.Register(t.Context(), worker, double, func(_ context.Context, n int) (int, error) { return 2 * n, nil }))
		caller, f := process(t, b, fleet.Options{ID: "caller..1"})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		require.NoError(t, f.Await(ctx, double.ID()))
		got, err := commands.Execute(ctx, caller, double, 21)
		require.NoError(t, err)
		require.Equal(t, 42, got)
	})
}

// What is larger than the broker takes is refused with a code, at once and in both directions, and
// what is a little smaller is not.
func TestFleetKnowsWhatTheBrokerTakes(t *testing.T) {
	t.Parallel()
	b := kind{}.openAt(t, embeddedNATS(t).ClientURL())
	worker, _ := process(t, b, fleet.Options{ID: "worker"})
	fill := commands.Define[int, string]("fill", "So many letters")
	length := commands.Define[string, int]("length", "How many letters")
	require.NoError(t, commands.Register(t.Context(), worker, fill, func(_ context.Context, n int) (string, error) { return strings.Repeat("x", n), nil }))
	require.NoError(t, commands.Register(t.Context(), worker, length, func(_ context.Context, s string) (int, error) { return len(s), nil }))
	caller, f := process(t, b, fleet.Options{ID: "caller"})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	require.NoError(t, f.Await(ctx, fill.ID(), length.ID()))

	const most = 1 << 20 // NATS's default
	n, err := commands.Execute(ctx, caller, length, strings.Repeat("x", most-64<<10))
	require.NoError(t, err)
	require.Equal(t, most-64<<10, n)
	_, err = commands.Execute(ctx, caller, length, strings.Repeat("x", most))
	require.ErrorIs(t, err, commands.ErrInvalidRequest)
	_, err = commands.Execute(ctx, caller, fill, most)
	require.ErrorIs(t, err, commands.ErrInternal)
	require.Zero(t, f.Stats().Unsent)
}
