package fanout_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leatbus/leat/bench/internal/fanout"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// A process-wide ticker of the NATS server, which it never stops.
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.init.0.func1"))
}

func TestEveryListenerHandlesEveryEventOnce(t *testing.T) {
	t.Parallel()
	kinds := append(fanout.All(), fanout.Kind{Name: "leat-memory-raw", Make: fanout.LeatMemoryRaw})
	for _, k := range kinds {
		for _, listeners := range []int{1, 10, 100} {
			t.Run(fmt.Sprintf("%s/%d", k.Name, listeners), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
				defer cancel()
				f, err := k.Make(fanout.Setup{Listeners: listeners, Largest: 50})
				require.NoError(t, err)
				defer f.Close()
				for range 3 {
					require.NoError(t, f.Burst(ctx, 50))
				}
			})
		}
	}
}
