package brokers_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
)

// foreigners publish what is no message of ours, each as their broker allows.
var foreigners = map[string]func(t *testing.T, url, namespace, topic string){
	"nats": natsForeigner,
	"jetstream": func(t *testing.T, url, namespace, topic string) {
		natsForeigner(t, url, namespace, topic)
		natsForeigner(t, url, namespace+"_queues", "g_"+topic+"."+topic)
	},
	"redis": func(t *testing.T, url, namespace, topic string) {
		options, err := redis.ParseURL(url)
		require.NoError(t, err)
		client := redis.NewClient(options)
		defer func() { _ = client.Close() }()
		for _, key := range []string{namespace + ":" + topic, namespace + ":queue:" + topic + ":g"} {
			require.NoError(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: key, Values: []string{"some", "field"}}).Err())
			require.NoError(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: key,
				Values: []string{"_watermill_message_uuid", "1", "metadata", "\xff\xff", "payload", "x"}}).Err())
		}
	},
	"postgres": func(t *testing.T, url, namespace, topic string) {
		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		defer func() { _ = conn.Close(t.Context()) }()
		for range 2 {
			_, err = conn.Exec(t.Context(), `WITH new AS (INSERT INTO `+pgx.Identifier{namespace + "_messages"}.Sanitize()+
				` (topic, uuid, metadata) VALUES ($1, '1', 'no JSON') RETURNING "offset") INSERT INTO `+
				pgx.Identifier{namespace + "_waiting"}.Sanitize()+` SELECT "offset", $1, 'g' FROM new`, topic)
			require.NoError(t, err)
		}
	},
}

func natsForeigner(t *testing.T, url, namespace, topic string) {
	conn, err := nats.Connect(strings.Replace(url, "jetstream://", "nats://", 1))
	require.NoError(t, err)
	defer conn.Close()
	for range 2 {
		require.NoError(t, conn.PublishMsg(&nats.Msg{Subject: namespace + "." + topic, Header: nats.Header{"Twice": {"a", "b"}}}))
	}
	require.NoError(t, conn.Flush())
}

// TestForeignMessagesAreSkipped: they are counted, and neither come again nor
// end anything.
func TestForeignMessagesAreSkipped(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		publishForeign := foreigners[strings.TrimSuffix(k.name, "-embedded")]
		if publishForeign == nil {
			return // in process, RabbitMQ and Kafka: whatever comes can be read
		}
		url, o := k.url(t), brokers.Options{Namespace: namespace()}
		if k.purge != nil {
			t.Cleanup(func() { k.purge(t, url, o.Namespace) })
		}
		b := k.openAt(t, url, o)
		topic := b.Topic("mixed")
		in := subscribe(t, b, topic)
		group, _ := queue(t, b, "g", topic)
		publishForeign(t, url, o.Namespace, topic)
		publish(t, b, topic, "ours")()
		require.Equal(t, "ours", take(t, in))
		require.Equal(t, "ours", take(t, group))
		require.EqualValues(t, 4, b.Stats().Skipped, "two, for each of the two subscriptions")
	})
}

// TestRabbitMQForeignHeaders: what is no string is left out.
func TestRabbitMQForeignHeaders(t *testing.T) {
	t.Parallel()
	url, o := amqpServer.find(t), brokers.Options{Namespace: namespace()}
	t.Cleanup(func() { purgeAMQP(t, url, o.Namespace) })
	b := kind{}.openAt(t, url, o)
	in := subscribe(t, b, "mixed")
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	channel, err := conn.Channel()
	require.NoError(t, err)
	require.NoError(t, channel.PublishWithContext(t.Context(), o.Namespace, "mixed", true, false, amqp.Publishing{
		Headers: amqp.Table{"number": int32(1), "table": amqp.Table{"x": "y"}, "text": "kept", "_watermill_message_uuid": int64(2)},
		Body:    []byte("theirs"),
	}))
	m := recv(t, in)
	m.Ack()
	require.Equal(t, "theirs", string(m.Payload))
	require.Len(t, m.Metadata, 1)
	require.Equal(t, "kept", m.Metadata.Get("text"))
}
