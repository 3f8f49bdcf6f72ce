package brokers_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
)

// queue subscribes to a group until the returned cancel.
func queue(t testing.TB, b *brokers.Broker, group, topic string) (<-chan *message.Message, context.CancelFunc) {
	t.Helper()
	q, err := b.Queue(group)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	in, err := q.Subscribe(ctx, topic)
	require.NoError(t, err)
	return in, cancel
}

func TestQueueSharesAmongItsSubscriptions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		b := k.open(t)
		if !b.Guarantees().Queues {
			_, err := b.Queue("g")
			require.ErrorIs(t, err, brokers.ErrNoQueue)
			return
		}
		topic := b.Topic("work")
		first, _ := queue(t, b, "g", topic)
		second, _ := queue(t, b, "g", topic)
		other, _ := queue(t, b, "other", topic)
		want := numbers(20)
		publish(t, b, topic, want...)()
		seen := make(map[string]int)
		for len(seen) < len(want) {
			var m *message.Message
			select {
			case m = <-first:
			case m = <-second:
			case <-time.After(patience):
				t.Fatalf("%d of %d came", len(seen), len(want))
			}
			seen[string(m.Payload)]++
			m.Ack()
			require.True(t, k.repeats || seen[string(m.Payload)] == 1, "%s came twice", m.Payload)
		}
		for _, w := range want {
			require.Contains(t, seen, w)
		}
		for i := range want {
			require.Equal(t, want[i], take(t, other), "a second group gets everything too")
		}
	})
}

func TestQueueKeepsWhatNobodyTakes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		b := k.open(t)
		if !b.Guarantees().Durable {
			return
		}
		topic := b.Topic("work")
		in, leave := queue(t, b, "g", topic)
		publish(t, b, topic, "handled")()
		require.Equal(t, "handled", take(t, in))
		leave()
		closes(t, in, "the group's only subscription")
		publish(t, b, topic, numbers(5)...)()
		in, _ = queue(t, b, "g", topic)
		for _, want := range numbers(5) {
			got := take(t, in)
			for k.repeats && got == "handled" {
				got = take(t, in)
			}
			require.Equal(t, want, got)
		}
	})
}

func TestQueueHandsOverWhatWasNotAcked(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		url := k.url(t)
		b := k.openAt(t, url, brokers.Options{AckWait: ackWait})
		if !b.Guarantees().Durable {
			return
		}
		topic := b.Topic("work")
		in, leave := queue(t, b, "g", topic)
		publish(t, b, topic, "x")()
		recv(t, in) // and dies with it
		leave()
		closes(t, in, "the one that died")
		in, _ = queue(t, b, "g", topic)
		require.Equal(t, "x", take(t, in))
	})
}

// TestQueueIsLeftInGoodOrder: what a subscription has read ahead is the next one's
// at once, and in order where the broker gives back in order.
func TestQueueIsLeftInGoodOrder(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		var o brokers.Options // AckWait is a minute
		jetstream := strings.HasPrefix(k.name, "jetstream")
		if jetstream { // may send to a subscription that ends just then
			o.AckWait = ackWait
		}
		b := k.open(t, o)
		if !b.Guarantees().Durable || k.repeats {
			return
		}
		topic := b.Topic("work")
		var got []string
		all := numbers(12)
		for i := 0; i < len(all); i += 3 {
			in, leave := queue(t, b, "g", topic)
			if i == 0 {
				publish(t, b, topic, all...)()
			}
			for range 3 {
				got = append(got, take(t, in))
			}
			leave()
			closes(t, in, "the group's subscription")
		}
		if jetstream {
			require.ElementsMatch(t, all, got)
		} else {
			require.Equal(t, all, got)
		}
	})
}

func TestQueueNackedComesAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		b := k.open(t)
		if !b.Guarantees().Durable {
			return
		}
		topic := b.Topic("work")
		in, _ := queue(t, b, "g", topic)
		publish(t, b, topic, "x")()
		recv(t, in).Nack()
		require.Equal(t, "x", take(t, in))
	})
}
