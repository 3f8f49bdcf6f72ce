package brokers_test

import (
	"context"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
)

// kindNamed returns one of kinds.
func kindNamed(t testing.TB, name string) kind {
	t.Helper()
	for _, k := range kinds {
		if k.name == name {
			return k
		}
	}
	t.Fatalf("no kind %q", name)
	return kind{}
}

// A RabbitMQ that was killed may have lost the binding of a queue that it has kept. Then it confirms what goes nowhere, unless it is asked to
// return that; and a subscription that only consumes again hears of nothing. Here bindings go while the subscriber's connection is
// broken.
func TestRabbitLosesBindings(t *testing.T) {
	t.Parallel()
	k := kindNamed(t, "amqp")
	ns := namespace()
	b, direct, c := cabled(t, k, brokers.Options{Namespace: ns, PublishRetry: time.Minute})
	topic := b.Topic("events")
	in := subscribe(t, b, topic)
	publish(t, direct, topic, "before")()
	require.Equal(t, "before", take(t, in))

	c.setCut(true)
	unbindAll(t, k.url(t), ns)
	published := make(chan error, 1)
	go func() { published <- direct.Publisher().Publish(topic, text("1"), text("2"), text("3")) }()
	require.Eventually(t, func() bool { return direct.Stats().Republished > 3 || len(published) > 0 }, patience, time.Millisecond)
	c.setCut(false)
	for _, want := range []string{"1", "2", "3"} {
		got := take(t, in)
		for got == "before" { // its ack was lost
			got = take(t, in)
		}
		require.Equal(t, want, got, "a message that was confirmed")
	}
	require.NoError(t, <-published)
}

// unbindAll removes what a namespace has bound: the exchange, which publishers make again.
func unbindAll(t testing.TB, url, namespace string) {
	t.Helper()
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	channel, err := conn.Channel()
	require.NoError(t, err)
	require.NoError(t, channel.ExchangeDelete(namespace, false, false))
}

// What is published where nobody has ever subscribed, or does not any more, is lost, and no error.
func TestRabbitTellsNobodyFromLost(t *testing.T) {
	t.Parallel()
	b := kindNamed(t, "amqp").open(t)
	topic := b.Topic("nobody")
	began := time.Now()
	publish(t, b, topic, numbers(3)...)()
	in := subscribe(t, b, topic)
	publish(t, b, topic, "heard")()
	require.Equal(t, "heard", take(t, in))
	ctx, cancel := context.WithCancel(t.Context())
	again, err := b.Subscriber().Subscribe(ctx, topic)
	require.NoError(t, err)
	cancel()
	closes(t, again, "the subscription")
	publish(t, b, topic, "after")()
	require.Equal(t, "after", take(t, in))
	require.Less(t, time.Since(began), patience)
	require.Zero(t, b.Stats().Republished)
}

// An exchange that somebody deletes is made again, and what was bound to it is bound again, without a connection that breaks.
func TestRabbitMakesItsExchangeAgain(t *testing.T) {
	t.Parallel()
	k := kindNamed(t, "amqp")
	ns := namespace()
	url := k.url(t)
	t.Cleanup(func() { k.purge(t, url, ns) })
	b, other := k.openAt(t, url, brokers.Options{Namespace: ns}), k.openAt(t, url, brokers.Options{Namespace: ns})
	topic, work := b.Topic("events"), b.Topic("work")
	in := subscribe(t, b, topic)
	taken, _ := queue(t, b, "g", work)
	unbindAll(t, url, ns)
	for _, topic := range []string{topic, work} { // of another process, which knows of no subscription
		from := taken
		if topic == b.Topic("events") {
			from = in
		}
		comesBack(t, other, topic, from)
	}
}
