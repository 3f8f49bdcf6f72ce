package brokers_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
)

// A server that takes connections and says nothing holds up Open no longer than its ctx does.
func TestOpenOfASilentServer(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"nats", "jetstream", "redis", "amqp", "postgres"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			silent, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(func() { _ = silent.Close() }) // which ends the connections
			timeout, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			cancelled, leave := context.WithCancel(t.Context())
			time.AfterFunc(200*time.Millisecond, leave)
			for want, ctx := range map[error]context.Context{context.DeadlineExceeded: timeout, context.Canceled: cancelled} {
				ended := make(chan error, 1)
				go func() {
					_, err := brokers.Open(ctx, scheme+"://"+silent.Addr().String())
					ended <- err
				}()
				select {
				case err := <-ended:
					require.Error(t, err)
				case <-time.After(1500 * time.Millisecond):
					require.FailNow(t, "Open waits on", "%v", want)
				}
			}
		})
	}
}
