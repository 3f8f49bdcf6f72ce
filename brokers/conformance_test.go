package brokers_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/pairingtest"
)

// TestJoinConforms runs the whole conformance kit over each broker. Its two halves
// share a connection, as pairs of one process do.
func TestJoinConforms(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		b := k.openAt(t, k.kit(t))
		var serial atomic.Int64
		pairingtest.Run(t, func(_ testing.TB, here, there string) (chA, chB *bus.Channel) {
			o := pairing.JoinOptions{Prefix: fmt.Sprintf("test%d", serial.Add(1))}
			return b.Join(there, here, o), b.Join(here, there, o)
		}, pairingtest.Features{Ordered: true, Slowness: k.slowness, Fewer: 10})
	})
}
