package brokers_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing/fleet"
)

// Of 1,000 events of a fleet, five with metadata that nobody expects, all arrive, in order; one that is too large is refused where it is
// emitted, or costs itself.
func TestPoisonedEvents(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		url, ns := k.kit(t), namespace()
		if k.purge != nil {
			t.Cleanup(func() { k.purge(t, url, ns) })
		}
		o := brokers.Options{Namespace: ns}
		b := k.openAt(t, url, o)
		emitter, f := process(t, b, fleet.Options{ID: "emitter"})
		listener, _ := process(t, b, fleet.Options{ID: "listener"})
		require.NoError(t, f.Ready(t.Context()))
		tick, heard := events.Define[int]("tick"), make(chan int, 2000)
		_, err := events.Listen(listener.Events(), tick, func(_ context.Context, n int) { heard <- n })
		require.NoError(t, err)
		for n := -1; len(heard) == 0; n-- { // until the listener is known
			require.NoError(t, events.Emit(t.Context(), emitter.Events(), tick, n))
			require.NoError(t, emitter.Events().Flush(t.Context()))
		}
		poison := map[int]message.Metadata{
			100: {"CC": "a", "BCC": "b", "_watermill_message_uuid": "x", "Nats-Rollup": "all", "Nats-Msg-Id": "same"},
			300: {"Nats-Msg-Id": "same", "Nats-Expected-Stream": "another", "x-match": "all", "leat-skip": "1", "leat-probe": "1"},
			500: {"binary": "\xff\x00\xfe", "\xff\x00": "key"},
			700: {"large": strings.Repeat("v", 200<<10)},
			900: {"huge": strings.Repeat("v", 2<<20)},
		}
		refused := 0
		for n := range 1000 {
			ctx := t.Context()
			if md := poison[n]; md != nil {
				ctx = bus.WithMetadata(ctx, md)
			}
			if err := events.Emit(ctx, emitter.Events(), tick, n); err != nil {
				require.Equal(t, 900, n)
				require.ErrorIs(t, err, bus.ErrTooLarge)
				refused++
			}
		}
		for n := 0; n < 1000; n++ {
			got := recvInt(t, heard)
			for got < 0 {
				got = recvInt(t, heard)
			}
			if n == 900 && got == 901 {
				require.Equal(t, 1, refused+int(f.Stats().Unsent), "it is told, or counted")
				n++
			}
			require.Equal(t, n, got)
		}
	})
}

func recvInt(t testing.TB, in <-chan int) int {
	t.Helper()
	select {
	case n := <-in:
		return n
	case <-time.After(patience):
		t.Fatal("no event came")
		return 0
	}
}
