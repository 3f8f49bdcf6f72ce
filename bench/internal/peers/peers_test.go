package peers_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leatbus/leat/bench/internal/peers"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// A process-wide ticker of the NATS server, which it never stops.
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.init.0.func1"))
}

func TestEveryPeerGivesTheRightSum(t *testing.T) {
	t.Parallel()
	setups := map[string]peers.Setup{
		"small":      {},
		"4 KiB":      {Payload: 4 << 10},
		"256 KiB":    {Payload: 256 << 10},
		"three hops": {Hops: 3},
		"64 callers": {Callers: 64},
	}
	for _, k := range peers.All() {
		for name, s := range setups {
			if s.Hops > 1 && !k.Relays {
				continue
			}
			t.Run(k.Name+"/"+name, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				p, err := k.Make(s)
				require.NoError(t, err)
				defer p.Close()
				var callers sync.WaitGroup
				for range max(s.Callers, 1) {
					callers.Go(func() {
						for range 20 {
							assert.NoError(t, p.Call(ctx))
						}
					})
				}
				callers.Wait()
			})
		}
	}
}

func TestNamed(t *testing.T) {
	t.Parallel()
	k, err := peers.Named("leat-memory")
	require.NoError(t, err)
	assert.Equal(t, "leat-memory", k.Name)
	_, err = peers.Named("pigeon")
	assert.ErrorContains(t, err, "pigeon")
}
