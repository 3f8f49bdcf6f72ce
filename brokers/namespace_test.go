package brokers_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/pairing/fleet"
)

// TestFleetHasNoDefaultNamespace: programs that know nothing of each other, and name no namespace, are not made one fleet.
func TestFleetHasNoDefaultNamespace(t *testing.T) {
	t.Parallel()
	for _, o := range []brokers.Options{{}, {Namespace: "shop"}} {
		b, err := brokers.Open(t.Context(), "memory://", o)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		f, err := b.Fleet(t.Context(), fleet.Options{})
		if o.Namespace == "" {
			require.ErrorContains(t, err, "Namespace")
			f, err = b.Fleet(t.Context(), fleet.Options{Namespace: "shop"})
		}
		require.NoError(t, err, "it is the namespace of Open")
		require.NoError(t, f.Close())
	}
}
