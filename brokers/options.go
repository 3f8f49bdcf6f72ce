package brokers

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"time"

	"github.com/leatbus/leat/internal/logging"
	"github.com/leatbus/leat/internal/mac"
)

// Defaults of [Options].
const (
	DefaultNamespace        = "leat"
	DefaultAckWait          = 10 * time.Second
	DefaultSubscribeTimeout = 10 * time.Second
	DefaultPublishRetry     = 5 * time.Second
	DefaultCloseTimeout     = 10 * time.Second
	DefaultRetention        = time.Hour
	DefaultMaxMessages      = 100_000
	DefaultMaxConns         = 8
)

// Options refine a broker. The zero value works.
type Options struct {
	// Namespace keeps programs apart that share a broker: it begins the name of
	// everything that is made there (subjects, stream, keys, exchange, tables, topics).
	// Small letters, digits and inner dashes, at most 32. Default "leat", which Fleet does not take for its own.
	Namespace string
	// Keys are what Join and Fleet sign with where their own options name none: secrets that all programs of the namespace share, so
	// that messages of other publishers on the broker are rejected. At most 8, each of at least 16 random bytes; see
	// bus.Channel.Keys. Publisher, Subscriber and Queue know nothing of them. Default: none.
	Keys [][]byte
	// Logger hears of what is skipped, dropped, lost and found again. What the
	// adapters say besides goes to it at Debug. Redis' client has one logger for the process, which the first Open of
	// a Redis sets to slog.Default() at Debug: redis.SetLogger after that sets another. Default slog.Default().
	Logger *slog.Logger
	// AckWait is how soon the death of a consumer of a Queue is noticed: its message goes to another one then. It does not bound
	// handlers: while a message is out, its process says so at least three times in an AckWait, and once a second, so that it may be paused, or
	// cut off from the broker, for two thirds of it. Not used on RabbitMQ, which notices the end of a connection, and has a limit of its own
	// for an ack (consumer_timeout, 30 minutes), nor on Kafka. Default 10 s.
	AckWait time.Duration
	// SubscribeTimeout bounds how long Subscribe waits until its subscription is
	// proven to be live. Default 10 s.
	SubscribeTimeout time.Duration
	// PublishRetry is how long Publish tries again when the connection is broken, on
	// backends where subscriptions survive that too (not NATS core; Kafka's client has
	// its own ways): an answer is then late rather than lost. A message may be published
	// twice so, which registries see to. Default 5 s.
	PublishRetry time.Duration
	// CloseTimeout bounds how long Close waits for subscriptions and for
	// publishers to return. Default 10 s.
	CloseTimeout time.Duration
	// Retention is how long what was published stays with a broker that
	// stores it (JetStream, Redis, Postgres, Kafka), and how long a subscription's
	// queue outlives its process on RabbitMQ. What waits in a Queue stays until it is
	// acked on Redis, RabbitMQ and Postgres, and this long on JetStream and Kafka. A subscriber that
	// is behind by more than this misses messages, uncounted. Default 1 hour.
	Retention time.Duration
	// MaxMessages bounds what is stored. Of fan-out the oldest go first, read or not: per topic on Redis (approximately) and JetStream,
	// per subscription's queue on RabbitMQ. What waits or is out in a Queue is not dropped: on Redis and JetStream a message that would be one
	// more is refused, with ErrQueueFull. Not used elsewhere. Limits of a JetStream namespace are raised by a process that
	// asks for more, and lowered by none. Default 100,000.
	MaxMessages int64
	// MaxConns bounds the connections to Postgres. While nothing is to be done there are at most 4. At least 2. Default 8.
	MaxConns int
	// TLS is how to talk TLS with a broker over a network, whatever the scheme says, with RootCAs, Certificates (of the
	// client) and so on. It is cloned; where its ServerName is empty, that is the host of the URL. Default nil: TLS where the scheme says so
	// (tls, jetstream+tls, rediss, amqps, kafka+tls; Postgres' sslmode), with the roots of the system.
	TLS *tls.Config
	// Credentials are the user that connects, and go before those of the URL. Default: those of the URL.
	Credentials Credentials
	// Dial makes the connections to a broker over a network: for a proxy or a tunnel. Names of hosts come as they are
	// in the URL. Default a net.Dialer with a timeout of 5 s.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

var legalNamespace = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

func (o Options) withDefaults() (Options, error) {
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if !legalNamespace.MatchString(o.Namespace) {
		return o, fmt.Errorf("namespace %q: want small letters, digits and inner dashes, at most 32", o.Namespace)
	}
	if _, err := mac.New(o.Keys); err != nil {
		return o, err
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.Logger = logging.Guard(o.Logger)
	for _, d := range []struct {
		name     string
		value    *time.Duration
		fallback time.Duration
	}{
		{"AckWait", &o.AckWait, DefaultAckWait},
		{"SubscribeTimeout", &o.SubscribeTimeout, DefaultSubscribeTimeout},
		{"PublishRetry", &o.PublishRetry, DefaultPublishRetry},
		{"CloseTimeout", &o.CloseTimeout, DefaultCloseTimeout},
		{"Retention", &o.Retention, DefaultRetention},
	} {
		switch {
		case *d.value < 0:
			return o, fmt.Errorf("negative %s", d.name)
		case *d.value == 0:
			*d.value = d.fallback
		}
	}
	switch {
	case o.MaxMessages < 0:
		return o, fmt.Errorf("negative MaxMessages")
	case o.MaxMessages == 0:
		o.MaxMessages = DefaultMaxMessages
	}
	switch {
	case o.MaxConns == 0:
		o.MaxConns = DefaultMaxConns
	case o.MaxConns < 2:
		return o, fmt.Errorf("MaxConns is %d, at least 2", o.MaxConns)
	}
	return o, o.Credentials.check()
}
