package guides_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/pairingtest"
)

// snippet: test-handler

func TestAHandler(t *testing.T) {
	registry, err := commands.NewRegistry(commands.Config{})
	require.NoError(t, err)
	defer registry.Close()
	require.NoError(t, commands.Register(t.Context(), registry, getUser, ada))

	user, err := commands.Execute(t.Context(), registry, getUser, GetUser{ID: 7})
	require.NoError(t, err)
	require.Equal(t, "Ada", user.Name)
}

// end snippet

// snippet: test-tree

// tree returns two registries that are joined, as they are in production over a broker.
func tree(t *testing.T) (root, worker *commands.Registry) {
	root, err := commands.NewRegistry(commands.Config{ID: "root"})
	require.NoError(t, err)
	t.Cleanup(func() { root.Close() })
	worker, err = commands.NewRegistry(commands.Config{ID: "worker", RouterChannel: "root"})
	require.NoError(t, err)
	t.Cleanup(func() { worker.Close() })
	toWorker, toRoot := pairing.InMemory("worker", "root")
	_, err = root.RegisterChannel(t.Context(), toWorker)
	require.NoError(t, err)
	link, err := worker.RegisterChannel(t.Context(), toRoot)
	require.NoError(t, err)
	require.NoError(t, link.WaitReady(t.Context()))
	return root, worker
}

// end snippet

// snippet: test-time

func TestATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root, worker := tree(t)
		slow := func(ctx context.Context, _ GetUser) (User, error) {
			<-ctx.Done() // cancelled when the caller stops waiting
			return User{}, ctx.Err()
		}
		require.NoError(t, commands.Register(t.Context(), worker, getUser, slow))
		began := time.Now()
		_, err := commands.Execute(t.Context(), root, getUser, GetUser{ID: 7})
		require.ErrorIs(t, err, commands.ErrTimeout)
		require.Equal(t, 2*time.Second, time.Since(began)) // the command's TTL: the clock of the bubble, no time at all
	})
}

// end snippet

// snippet: test-kit

func TestMyTransportKeepsTheRules(t *testing.T) {
	pairingtest.Run(t, func(_ testing.TB, a, b string) (chA, chB *bus.Channel) {
		return pairing.InMemory(a, b) // your own way to make the two halves
	}, pairingtest.Features{HoldsBeforeAttach: true, Ordered: true, Local: true})
}

// end snippet
