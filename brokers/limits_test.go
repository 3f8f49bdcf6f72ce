package brokers_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/bus"
)

// limitedServers are servers that take less than usual: how much, and whether they say so before they have refused something.
var limitedServers = map[string]struct {
	url   func(testing.TB) string
	limit int
	quiet bool
}{
	"nats":      {func(t testing.TB) string { return smallNATS(t, 64<<10) }, 64 << 10, false},
	"jetstream": {func(t testing.TB) string { return jetStreamURL(smallNATS(t, 64<<10)) }, 64 << 10, false},
	"kafka": {func(t testing.TB) string {
		return fakeKafka(t, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "65536"}))
	}, 64 << 10, false},
	"redis": {func(t testing.TB) string { return startRedis(t, "--proto-max-bulk-len", "1mb").url() }, 1 << 20, false},
	"amqp": {func(t testing.TB) string {
		return startRabbit(t, func(p *private) string {
			config := filepath.Join(t.TempDir(), "rabbitmq.conf")
			require.NoError(t, os.Chmod(filepath.Dir(config), 0o755))
			require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(config)), 0o755))
			text := fmt.Sprintf("listeners.tcp.default = 127.0.0.1:%d\nmax_message_size = 65536\n", p.port)
			require.NoError(t, os.WriteFile(config, []byte(text), 0o644))
			return config
		}).url()
	}, 64 << 10, true},
}

func smallNATS(t testing.TB, limit int32) string {
	return startNATS(t, &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, MaxPayload: limit}).ClientURL()
}

// What is larger than a broker takes is refused at once, with its size and the limit, and alone: what is published beside and behind it on the same
// connection arrives, and so does what is a little smaller.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	for name, s := range limitedServers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := kind{}.openAt(t, s.url(t), brokers.Options{Namespace: "limits"})
			topic, beside := b.Topic("limits"), b.Topic("beside")
			publisher := b.Publisher().(interface {
				message.Publisher
				limiter
			})
			in, others := subscribe(t, b, topic), subscribe(t, b, beside)
			if s.quiet { // until it has refused one
				require.ErrorIs(t, publisher.Publish(topic, text(strings.Repeat("x", s.limit+1))), brokers.ErrTooLarge)
			}
			before := b.Stats().Republished
			require.Equal(t, s.limit, publisher.MaxBytes(topic))

			var neighbour sync.WaitGroup
			neighbour.Go(func() {
				for _, n := range numbers(50) {
					if err := publisher.Publish(beside, text(n)); err != nil {
						t.Errorf("beside: %v", err)
					}
				}
			})
			for _, m := range []*message.Message{
				text(strings.Repeat("x", s.limit+1)),
				withMetadata("value", strings.Repeat("v", s.limit+1)),
				withMetadata(strings.Repeat("k", s.limit+1), "v"),
			} {
				err := publisher.Publish(topic, text("good"), m, text("good"))
				var large *brokers.TooLargeError
				require.ErrorAs(t, err, &large)
				require.ErrorIs(t, err, bus.ErrTooLarge)
				require.Equal(t, s.limit, large.Limit)
				require.Greater(t, large.Size, s.limit)
				var failed *brokers.PublishError
				require.ErrorAs(t, err, &failed)
				require.Equal(t, 1, failed.Failed)
				require.Zero(t, failed.Published)
			}
			largest := strings.Repeat("y", s.limit-1024)
			require.NoError(t, publisher.Publish(topic, text("good"), text(largest), text("good")))
			for _, want := range []string{"good", largest, "good"} {
				require.Equal(t, want, take(t, in))
			}
			for _, n := range numbers(50) {
				require.Equal(t, n, take(t, others))
			}
			neighbour.Wait()
			require.Equal(t, before, b.Stats().Republished, "the connection is unharmed")
		})
	}
}

func withMetadata(key, value string) *message.Message {
	m := text("x")
	m.Metadata.Set(key, value)
	return m
}

// Every broker has a limit that its publisher knows, but for those in this process.
func TestLimitsAreKnown(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		b := k.open(t)
		got := b.Publisher().(limiter).MaxBytes(b.Topic("x"))
		switch k.name {
		case "memory", "gochannel":
			require.Zero(t, got)
		case "redis":
			require.Equal(t, 512<<20, got)
		case "amqp":
			require.Contains(t, []int{16 << 20, 128 << 20}, got)
		case "postgres":
			require.Equal(t, 256<<20, got)
		case "kafka":
			require.GreaterOrEqual(t, got, 1_000_000)
		default:
			require.Equal(t, 1<<20, got)
		}
	})
}
