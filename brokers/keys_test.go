package brokers_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/fleet"
)

// TestRule26KeysOfABroker: what Open was given is what links and fleets sign with.
func TestRule26KeysOfABroker(t *testing.T) {
	t.Parallel()
	url, ns, key := embeddedNATS(t).ClientURL(), namespace(), bytes.Repeat([]byte("k"), 16)
	open := func(keys ...[]byte) *brokers.Broker {
		b, err := brokers.Open(t.Context(), url, brokers.Options{Namespace: ns, Keys: keys, Logger: silent})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		return b
	}
	_, err := brokers.Open(t.Context(), url, brokers.Options{Keys: [][]byte{[]byte("short")}})
	require.ErrorIs(t, err, bus.ErrInvalidKeys)
	signed, unsigned := open(key), open()

	root, worker := registry(t, commands.Config{ID: "root"}), registry(t, commands.Config{ID: "worker"})
	toWorker, err := root.RegisterChannel(t.Context(), signed.Join("root", "worker"))
	require.NoError(t, err)
	toRoot, err := worker.RegisterChannel(t.Context(), unsigned.Join("worker", "root"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return toWorker.Stats().Forged > 0 && toRoot.Stats().Forged > 0 }, 20*time.Second, time.Millisecond)
	require.NoError(t, toRoot.Close())
	<-toRoot.Done()
	again, err := worker.RegisterChannel(t.Context(), unsigned.Join("worker", "root", pairing.JoinOptions{Keys: [][]byte{key}}))
	require.NoError(t, err)
	<-again.Ready()
	<-toWorker.Ready()

	_, one := process(t, signed, fleet.Options{ID: "one"})
	_, two := process(t, unsigned, fleet.Options{ID: "two", Keys: [][]byte{key}})
	_, none := process(t, unsigned, fleet.Options{ID: "none"})
	require.Eventually(t, func() bool { return len(one.Members()) == 1 && len(two.Members()) == 1 && none.Stats().Forged > 0 }, 20*time.Second, time.Millisecond)
	require.Empty(t, none.Members())
}
