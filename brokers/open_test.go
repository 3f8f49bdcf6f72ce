package brokers_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/bus"
)

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for url, says := range map[string]string{
		"":                                   "unknown scheme",
		"ftp://x":                            "unknown scheme",
		"nats":                               "no URL; one looks like nats://HOST:PORT",
		"Kafka":                              "no URL; one looks like kafka://HOST:PORT",
		"memory":                             "no URL; one looks like memory://",
		"localhost:4222":                     "a URL looks like nats://HOST:PORT",
		"mysql://root:secret@127.0.0.1/test": "…@127.0.0.1",
		"nats://":                            "no host",
		"jetstream://":                       "no host",
		"kafka://":                           "no host",
		"nats://127.0.0.1:1":                 "nats://127.0.0.1:1",
		"jetstream://127.0.0.1:1":            "jetstream://127.0.0.1:1",
		"redis://127.0.0.1:1":                "redis://127.0.0.1:1",
		"amqp://127.0.0.1:1":                 "amqp://127.0.0.1:1",
		"postgres://127.0.0.1:1/x":           "postgres://127.0.0.1:1",
		"postgres://127.0.0.1:1/x?password=secret": "postgres://127.0.0.1:1",
		"kafka://127.0.0.1:1":                      "kafka://127.0.0.1:1",
	} {
		_, err := brokers.Open(t.Context(), url)
		require.ErrorContains(t, err, says, url)
		require.NotContains(t, err.Error(), "secret")
		if scheme, _, _ := strings.Cut(url, ":"); slices.Contains([]string{"", "ftp", "mysql"}, scheme) {
			require.ErrorIs(t, err, brokers.ErrUnknownScheme, url)
		}
	}
	for _, o := range []brokers.Options{{Namespace: "Big"}, {Namespace: "a b"}, {Namespace: strings.Repeat("x", 33)}, {Retention: -1}, {MaxMessages: -1}} {
		_, err := brokers.Open(t.Context(), "memory://", o)
		require.Error(t, err)
	}
	_, err := brokers.Open(t.Context(), "memory://", brokers.Options{}, brokers.Options{})
	require.Error(t, err)
}

// TestOpenEndsWithItsContext: a server that accepts and says nothing holds nobody up for longer than he wants to wait.
// promptly is less than what a client takes that does not heed its ctx: Kafka's pauses three times, for 250 ms each.
const promptly = 800 * time.Millisecond

func TestOpenEndsWithItsContext(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, silent.Close()) })
	for _, scheme := range []string{"nats", "jetstream", "redis", "amqp", "postgres", "kafka"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			url := scheme + "://" + silent.Addr().String()
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			begun := time.Now()
			_, err := brokers.Open(ctx, url)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Less(t, time.Since(begun), promptly)

			ctx, cancel = context.WithCancel(context.Background())
			time.AfterFunc(100*time.Millisecond, cancel)
			begun = time.Now()
			_, err = brokers.Open(ctx, url)
			require.ErrorIs(t, err, context.Canceled)
			require.Less(t, time.Since(begun), promptly)

			_, err = brokers.Open(ctx, url)
			require.ErrorIs(t, err, context.Canceled)
		})
	}
}

// TestClosedBrokerIsClosed: who asks for the bus's sentinel finds it.
func TestClosedBrokerIsClosed(t *testing.T) {
	b, err := brokers.Open(t.Context(), "memory://")
	require.NoError(t, err)
	require.NoError(t, b.Close())
	_, err = b.Subscriber().Subscribe(t.Context(), "x")
	require.ErrorIs(t, err, brokers.ErrClosed)
	require.ErrorIs(t, err, bus.ErrClosed)
	require.ErrorContains(t, err, "broker closed")
}

// TestRepliesOfNothing: a store needs what it keeps them in.
func TestRepliesOfNothing(t *testing.T) {
	_, err := brokers.PostgresReplies(t.Context(), nil)
	require.Error(t, err)
	_, err = brokers.RedisReplies(nil)
	require.Error(t, err)
}
