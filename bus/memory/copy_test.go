package memory_test

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
)

func TestDeliveriesAreIndependent(t *testing.T) {
	t.Parallel()
	for _, subscribers := range []int{1, 2} {
		for _, handOver := range []bool{false, true} {
			if handOver && subscribers == 1 {
				continue // that is TestHandOver
			}
			bubble(t, memory.Options{HandOver: handOver}, func(t *testing.T, ps *memory.PubSub) {
				var subs []<-chan *message.Message
				for range subscribers {
					subs = append(subs, subscribe(t, ps, "t"))
				}
				published := message.NewMessage("0", []byte("p"))
				published.Metadata.Set("k", "v")
				require.NoError(t, ps.Publish("t", published))
				for _, sub := range subs {
					msg := <-sub
					require.NotSame(t, published, msg)
					require.Equal(t, "v", msg.Metadata.Get("k"), "changed by publisher or another subscriber")
					require.Same(t, &published.Payload[0], &msg.Payload[0], "payload is shared")
					msg.Metadata.Set("k", "subscriber's")
					msg.Ack()
					select {
					case <-published.Acked():
						require.Fail(t, "ack state is shared with the publisher")
					default:
					}
				}
				require.Equal(t, "v", published.Metadata.Get("k"))
			})
		}
	}
}

func TestPublisherMayChangeMetadataAfterPublish(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{}, func(t *testing.T, ps *memory.PubSub) {
		msgs := subscribe(t, ps, "t")
		batch := numbered(2)
		batch[1].Metadata.Set("k", "v")
		require.NoError(t, ps.Publish("t", batch...)) // the second is queued
		batch[1].Metadata.Set("k", "changed")
		(<-msgs).Ack()
		require.Equal(t, "v", (<-msgs).Metadata.Get("k"))
	})
}

func TestHandOver(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{HandOver: true}, func(t *testing.T, ps *memory.PubSub) {
		msgs := subscribe(t, ps, "t")
		published := newMessage()
		require.NoError(t, ps.Publish("t", published))
		first := <-msgs
		require.Same(t, published, first)
		first.Nack()
		again := <-msgs
		require.NotSame(t, published, again, "its ack state is used up")
		require.True(t, again.Ack())

		for name, unusable := range map[string]*message.Message{
			"acked already":           published,
			"not made by NewMessage":  {UUID: "literal"},
			"acked by the subscriber": again,
		} {
			require.NoError(t, ps.Publish("t", unusable))
			msg := <-msgs
			require.NotSame(t, unusable, msg, name)
			require.True(t, msg.Ack(), name)
		}
		require.NoError(t, ps.Drain(t.Context()))
	})
}

// A publisher that breaks its promise, and acks what it handed over, harms the
// order of nothing and blocks nobody.
func TestHandOverSurvivesAnAckByThePublisher(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{HandOver: true}, func(t *testing.T, ps *memory.PubSub) {
		msgs := subscribe(t, ps, "t")
		for _, msg := range numbered(5) {
			require.NoError(t, ps.Publish("t", msg))
			msg.Ack()
		}
		for _, want := range []string{"0", "1", "2", "3", "4"} {
			msg := <-msgs
			require.Equal(t, want, msg.UUID)
			msg.Ack()
		}
		require.NoError(t, ps.Drain(t.Context()))
	})
}
