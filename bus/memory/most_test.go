package memory_test

import (
	"math"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
)

// TestSizesWithoutEnd: the largest sizes that there are mean very much, and neither nothing nor a panic.
func TestSizesWithoutEnd(t *testing.T) {
	t.Parallel()
	for _, o := range []memory.Options{{QueueSize: math.MaxInt}, {MaxUnacked: math.MaxInt}, {QueueSize: math.MaxInt, MaxUnacked: math.MaxInt}} {
		o.WhenFull = memory.Fail
		ps := memory.New(o)
		in, err := ps.Subscribe(t.Context(), "x")
		require.NoError(t, err)
		const count = 5000
		for range count {
			require.NoError(t, ps.Publish("x", message.NewMessage("1", nil)))
		}
		for range count {
			(<-in).Ack()
		}
		require.NoError(t, ps.Close())
	}
}
