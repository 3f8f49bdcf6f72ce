package brokers_test

import (
	"cmp"
	"context"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leatbus/leat/brokers"
)

// kind is a backend to test, and how to get at one.
type kind struct {
	name     string
	url      func(testing.TB) string
	purge    func(t testing.TB, url, namespace string) // removes what a namespace has left
	slowness int
	repeats  bool // a group that somebody joins or leaves gets some messages twice
}

var kinds = []kind{
	{name: "memory", url: fixed("memory://")},
	{name: "gochannel", url: fixed("gochannel://")},
	{name: "nats-embedded", url: func(t testing.TB) string { return embeddedNATS(t).ClientURL() }},
	{name: "jetstream-embedded", url: func(t testing.TB) string { return jetStreamURL(embeddedNATS(t).ClientURL()) }},
	{name: "nats", url: natsServer.find},
	{name: "jetstream", url: func(t testing.TB) string { return jetStreamURL(natsServer.find(t)) }, purge: purgeJetStream},
	{name: "redis", url: redisServer.find, purge: purgeRedis},
	{name: "amqp", url: amqpServer.find, purge: purgeAMQP, slowness: 5},
	{name: "postgres", url: postgresServer.find, purge: purgePostgres, slowness: 5},
	{name: "kafka", url: kafkaURL, slowness: 5, repeats: true},
}

func fixed(url string) func(testing.TB) string { return func(testing.TB) string { return url } }

// external is a real server. This is the one place that decides whether a test reaches for one: with LEAT_BROKERS=required
// for all of them, at the address that the variable names or at the usual one, and then it has to be there; without it for
// none. What a plain `go test` talks to runs in the test's own process.
type external struct{ env, fallback, start string }

var (
	natsServer     = external{"LEAT_TEST_NATS", "nats://127.0.0.1:4222", "nats-server -js"}
	amqpServer     = external{"LEAT_TEST_AMQP", "amqp://guest:guest@127.0.0.1:5672/", "rabbitmq-server"}
	postgresServer = external{"LEAT_TEST_POSTGRES", "postgres://postgres@127.0.0.1:5432/test", "pg_ctlcluster 15 main start"}
	redisServer    = external{"LEAT_TEST_REDIS", "redis://127.0.0.1:6379/0", "redis-server"}
)

// realServers reports whether tests use real servers, those that they start as processes of their own included.
func realServers() bool { return os.Getenv("LEAT_BROKERS") == "required" }

// needed skips the test, unless real servers are used.
func (e external) needed(t testing.TB) {
	t.Helper()
	if !realServers() {
		t.Skipf("needs a real server: LEAT_BROKERS=required, and %s or `docker compose up -d` or `%s`", e.env, e.start)
	}
}

// find returns the server's URL. Without real servers it skips the test; with them, a server that does not answer is a failure.
func (e external) find(t testing.TB) string {
	t.Helper()
	e.needed(t)
	address := cmp.Or(os.Getenv(e.env), e.fallback)
	u, err := url.Parse(address)
	require.NoErrorf(t, err, "%s", e.env)
	conn, err := net.DialTimeout("tcp", u.Host, 10*time.Second)
	require.NoErrorf(t, err, "no %s, and LEAT_BROKERS=required: start it with `docker compose up -d` or `%s`, or set %s", u.Host, e.start, e.env)
	_ = conn.Close()
	return address
}

func jetStreamURL(natsURL string) string {
	return strings.Replace(natsURL, "nats://", "jetstream://", 1)
}

func embeddedNATS(t testing.TB) *server.Server {
	t.Helper()
	return startNATS(t, &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true})
}

func startNATS(t testing.TB, o *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(o)
	require.NoError(t, err)
	s.Start()
	require.True(t, s.ReadyForConnections(time.Minute))
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

// kit returns the backend's URL, for a test that runs a whole kit of rules over it: minutes over Kafka, the fake included,
// so that this is left to LEAT_BROKERS=required.
func (k kind) kit(t testing.TB) string {
	t.Helper()
	if k.name == "kafka" && !realServers() {
		t.Skip("takes minutes: LEAT_BROKERS=required")
	}
	return k.url(t)
}

// kafkaURL is that of a real one, with real servers and where LEAT_TEST_KAFKA names one, else of a fake in this process.
func kafkaURL(t testing.TB) string {
	if url := os.Getenv("LEAT_TEST_KAFKA"); url != "" && realServers() {
		return url
	}
	return fakeKafka(t)
}

// fakeKafka is a Kafka of this process.
func fakeKafka(t testing.TB, more ...kfake.Opt) string {
	t.Helper()
	cluster, err := kfake.NewCluster(append(more, kfake.NumBrokers(1))...)
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	// Real brokers differ from this fake in two things that sarama relies on. They ignore
	// the leader's epoch that a producer sends; and a fetch that has found nothing
	// has an empty list of records, not a null one, at which sarama disconnects: so here fetches wait longer.
	cluster.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		for _, topic := range request.(*kmsg.ProduceRequest).Topics {
			for _, partition := range topic.Partitions {
				copy(partition.Records[12:], []byte{0xff, 0xff, 0xff, 0xff})
			}
		}
		return nil, nil, false
	})
	cluster.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		request.(*kmsg.FetchRequest).MaxWaitMillis = 3000
		return nil, nil, false
	})
	return "kafka://" + strings.Join(cluster.ListenAddrs(), ",")
}

// namespace returns one that nobody has.
func namespace() string { return "test-" + strings.ReplaceAll(uuid.NewString(), "-", "")[:12] }

// open returns a broker in a namespace of its own, which is removed with the test.
func (k kind) open(t testing.TB, opts ...brokers.Options) *brokers.Broker {
	t.Helper()
	return k.openAt(t, k.url(t), opts...)
}

func (k kind) openAt(t testing.TB, url string, opts ...brokers.Options) *brokers.Broker {
	t.Helper()
	var o brokers.Options
	if len(opts) > 0 {
		o = opts[0]
	}
	if o.Namespace == "" {
		o.Namespace = namespace()
		if k.purge != nil {
			t.Cleanup(func() { k.purge(t, url, o.Namespace) })
		}
	}
	b, err := brokers.Open(t.Context(), url, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// each runs a test against every backend: the real ones are skipped unless LEAT_BROKERS is "required".
func each(t *testing.T, test func(t *testing.T, k kind)) {
	t.Helper()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			test(t, k)
		})
	}
}

func purgeJetStream(t testing.TB, url, namespace string) {
	conn, err := nats.Connect(strings.Replace(url, "jetstream://", "nats://", 1))
	require.NoError(t, err)
	defer conn.Close()
	js, err := conn.JetStream()
	require.NoError(t, err)
	require.NoError(t, js.DeleteStream(namespace))
	if err := js.DeleteStream(namespace + "_queues"); err != nil {
		require.ErrorIs(t, err, nats.ErrStreamNotFound)
	}
}

func purgeRedis(t testing.TB, url, namespace string) {
	options, err := redis.ParseURL(url)
	require.NoError(t, err)
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	ctx := context.Background()
	keys := client.Scan(ctx, 0, namespace+":*", 1000).Iterator()
	for keys.Next(ctx) {
		require.NoError(t, client.Del(ctx, keys.Val()).Err())
	}
	require.NoError(t, keys.Err())
}

func purgeAMQP(t testing.TB, url, namespace string) {
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	channel, err := conn.Channel()
	require.NoError(t, err)
	require.NoError(t, channel.ExchangeDelete(namespace, false, false))
}

func purgePostgres(t testing.TB, url, namespace string) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	for _, table := range []string{"messages", "groups", "waiting"} {
		_, err := conn.Exec(ctx, "DROP TABLE "+pgx.Identifier{namespace + "_" + table}.Sanitize())
		require.NoError(t, err)
	}
}
