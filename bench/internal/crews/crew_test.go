package crews_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bench/internal/crews"
)

func TestCrews(t *testing.T) {
	t.Parallel()
	for _, url := range []string{startNATS(t), "memory://"} {
		for _, k := range crews.Of(url) {
			t.Run(k.Name, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
				defer cancel()
				c, err := k.Start(ctx, url, 2)
				require.NoError(t, err)
				var callers sync.WaitGroup
				for range 8 {
					callers.Go(func() {
						for range 50 {
							if err := c.Call(ctx); err != nil {
								t.Errorf("call: %v", err)
							}
						}
					})
				}
				callers.Wait()
				require.NoError(t, c.Close())
			})
		}
	}
}

// startNATS starts a server that goes with the test, and returns its URL.
func startNATS(t testing.TB) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	require.True(t, s.ReadyForConnections(time.Minute))
	return s.ClientURL()
}
