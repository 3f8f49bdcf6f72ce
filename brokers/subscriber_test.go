package brokers_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
)

const (
	patience = 30 * time.Second
	ackWait  = 2 * time.Second
)

// recv takes the next message, which has to come.
func recv(t testing.TB, in <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case m, ok := <-in:
		require.True(t, ok, "the subscription has ended")
		return m
	case <-time.After(patience):
		t.Fatal("no message came")
		return nil
	}
}

// take takes the next message, acks it, and returns its payload.
func take(t testing.TB, in <-chan *message.Message) string {
	t.Helper()
	m := recv(t, in)
	m.Ack()
	return string(m.Payload)
}

func text(s string) *message.Message { return message.NewMessage(uuid.NewString(), []byte(s)) }

// publish publishes one by one, beside the test, which has to take them where
// Publish waits for that.
func publish(t testing.TB, b *brokers.Broker, topic string, payloads ...string) (published func()) {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		var err error
		for _, p := range payloads {
			if err = b.Publisher().Publish(topic, text(p)); err != nil {
				break
			}
		}
		ended <- err
	}()
	return func() { t.Helper(); require.NoError(t, <-ended) }
}

func subscribe(t testing.TB, b *brokers.Broker, topic string) <-chan *message.Message {
	t.Helper()
	in, err := b.Subscriber().Subscribe(t.Context(), topic)
	require.NoError(t, err)
	return in
}

func numbers(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = strconv.Itoa(i)
	}
	return all
}

func TestSubscriberIsLiveAndOrdered(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		b := k.open(t)
		for round := range 5 { // each on a topic that nobody has heard of
			topic := b.Topic(fmt.Sprintf("fresh-%d", round))
			in := []<-chan *message.Message{subscribe(t, b, topic), subscribe(t, b, topic)}
			want := numbers(20)
			done := publish(t, b, topic, want...)
			for i := range want {
				for _, s := range in {
					require.Equal(t, want[i], take(t, s))
				}
			}
			done()
		}
	})
}

// TestSubscribersBeyondAnyPool has more subscriptions than a pool of connections, and
// publishes and receives all the same.
func TestSubscribersBeyondAnyPool(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		b := k.open(t)
		const n = 60
		var in [n]<-chan *message.Message
		topic := func(i int) string { return b.Topic(fmt.Sprintf("many-%d", i)) }
		for i := range n {
			in[i] = subscribe(t, b, topic(i))
		}
		require.Equal(t, n, b.Stats().Subscriptions)
		for i := range n {
			done := publish(t, b, topic(i), strconv.Itoa(i))
			require.Equal(t, strconv.Itoa(i), take(t, in[i]))
			done()
		}
	})
}

func TestSubscriberHasOneUnackedMessage(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		b := k.open(t)
		topic := b.Topic("one")
		in := subscribe(t, b, topic)
		done := publish(t, b, topic, "first", "second")
		first := recv(t, in)
		select {
		case m := <-in:
			t.Fatalf("%s came before the ack of %s", m.Payload, first.Payload)
		case <-time.After(100 * time.Millisecond):
		}
		first.Ack()
		require.Equal(t, "second", take(t, in))
		done()
	})
}

func TestNackedMessageComesAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		if strings.HasPrefix(k.name, "nats") || strings.HasPrefix(k.name, "jetstream") {
			return // documented: not there
		}
		b := k.open(t)
		topic := b.Topic("nack")
		in := subscribe(t, b, topic)
		done := publish(t, b, topic, "first", "second")
		recv(t, in).Nack()
		require.Equal(t, "first", take(t, in))
		require.Equal(t, "second", take(t, in))
		done()
	})
}

// strange is metadata and a payload that transports like to change.
func strange() *message.Message {
	m := message.NewMessage("an ID that is longer than the thirty-six characters of a UUID", []byte("\x00\xff payload \n"))
	m.Metadata = message.Metadata{
		"plain": "value", "spaces": "  leading and trailing ", "lines": "a\r\nb\n", "percent": "100% %41 +", "empty": "",
		"Colon: and space": "x:y", "leat-name": "%E2%82%AC", "umlauts ü": "grüße €", "control": "a\x01\tb", "quote": `"'\`,
		"long": strings.Repeat("x", 2000),
	}
	return m
}

func TestMetadataArrivesAsItWas(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		b := k.open(t)
		topic := b.Topic("metadata")
		in := subscribe(t, b, topic)
		go func() { _ = b.Publisher().Publish(topic, strange()) }()
		got := recv(t, in)
		got.Ack()
		require.Equal(t, strange().UUID, got.UUID)
		require.Equal(t, strange().Metadata, got.Metadata)
		require.Equal(t, strange().Payload, got.Payload)
	})
}

func TestSubscriptionEndsWithItsContext(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		b := k.open(t)
		topic := b.Topic("ends")
		for _, what := range []string{"idle", "with a message that nobody takes", "with a message that nobody acks"} {
			ctx, cancel := context.WithCancel(t.Context())
			in, err := b.Subscriber().Subscribe(ctx, topic)
			require.NoError(t, err)
			if what != "idle" {
				go func() { _ = b.Publisher().Publish(topic, text("x")) }()
			}
			if what == "with a message that nobody acks" {
				recv(t, in)
			}
			cancel()
			closes(t, in, what)
		}
	})
}

// closes drains in until it is closed.
func closes(t testing.TB, in <-chan *message.Message, what string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case _, open := <-in:
			if !open {
				return
			}
		case <-deadline:
			t.Fatalf("the subscription has not ended: %s", what)
		}
	}
}

func TestCloseEndsEverything(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		b := k.open(t)
		in := subscribe(t, b, b.Topic("a"))
		require.NoError(t, b.Close())
		closes(t, in, "Close")
		require.NoError(t, b.Close(), "again")
		require.ErrorIs(t, b.Publisher().Publish(b.Topic("a"), text("x")), brokers.ErrClosed)
		_, err := b.Subscriber().Subscribe(t.Context(), b.Topic("a"))
		require.ErrorIs(t, err, brokers.ErrClosed)
		require.Zero(t, b.Stats().Subscriptions)
	})
}

func TestSubscribeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		b := k.open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		in, err := b.Subscriber().Subscribe(ctx, b.Topic("a"))
		if err == nil { // an in-process one may not look
			closes(t, in, "ctx")
			return
		}
		require.ErrorIs(t, err, context.Canceled)
		require.Zero(t, b.Stats().Subscriptions)
	})
}

func TestClosersOfSharedPartsDoNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		b := k.open(t)
		in := subscribe(t, b, b.Topic("a"))
		require.NoError(t, b.Subscriber().Close())
		require.NoError(t, b.Publisher().Close())
		done := publish(t, b, b.Topic("a"), "x")
		require.Equal(t, "x", take(t, in))
		done()
	})
}
