//go:build unix

package brokers_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/pairing"
)

// Every backend passes the check as it comes.
func TestCheckPasses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		require.NoError(t, k.open(t).Check(ctx))
	})
}

// A server that takes small messages only is fit for small messages.
func TestCheckOfASmallServer(t *testing.T) {
	t.Parallel()
	s := startNATS(t, &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, MaxPayload: 16 << 10, NoSigs: true})
	b := kind{}.openAt(t, s.ClientURL())
	require.NoError(t, b.Check(t.Context()))
}

// A Redis that may throw streams away when its memory is full is refused, by the name of the promise.
func TestCheckRefusesAnEvictingRedis(t *testing.T) {
	t.Parallel()
	b := kind{}.openAt(t, startRedis(t, "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru").url())
	err := b.Check(t.Context())
	require.ErrorIs(t, err, brokers.PromiseStorage)
	var found *pairing.CheckError
	require.ErrorAs(t, err, &found)
	require.Len(t, found.Broken, 1)
	require.ErrorContains(t, err, "Redis")
	require.ErrorContains(t, err, "maxmemory-policy is allkeys-lru")

	b = kind{}.openAt(t, startRedis(t, "--maxmemory", "64mb", "--maxmemory-policy", "noeviction").url())
	require.NoError(t, b.Check(t.Context()))
}
