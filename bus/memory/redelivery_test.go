package memory_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
)

// notice is how long a nack may go unnoticed.
const notice = 16 * time.Millisecond

func TestNackedMessageComesAgainAfterABackoff(t *testing.T) {
	t.Parallel()
	for _, unacked := range []int{1, 2, 64} {
		t.Run(fmt.Sprint("unacked=", unacked), func(t *testing.T) {
			t.Parallel()
			opts := memory.Options{MaxUnacked: unacked, InitialBackoff: 100 * time.Millisecond}
			bubble(t, opts, func(t *testing.T, ps *memory.PubSub) {
				msgs := subscribe(t, ps, "t")
				require.NoError(t, ps.Publish("t", numbered(min(unacked, 2))...))
				taken := ready(msgs)
				msg := taken[len(taken)-1] // not the oldest
				time.Sleep(time.Second)    // a slow subscriber, and no other traffic
				nackedAt := time.Now()
				msg.Nack()
				again := <-msgs
				require.NotSame(t, msg, again)
				require.GreaterOrEqual(t, time.Since(nackedAt), 100*time.Millisecond)
				late := notice
				if unacked == 1 {
					late = 0 // the only message out is watched
				}
				require.LessOrEqual(t, time.Since(nackedAt), 100*time.Millisecond+late)
				require.EqualValues(t, 1, ps.Stats().Redelivered)
			})
		})
	}
}

func TestBackoffGrowsToItsBound(t *testing.T) {
	t.Parallel()
	opts := memory.Options{MaxRedeliveries: 5, InitialBackoff: 100 * time.Millisecond, MaxBackoff: 450 * time.Millisecond}
	bubble(t, opts, func(t *testing.T, ps *memory.PubSub) {
		msgs := subscribe(t, ps, "t")
		require.NoError(t, ps.Publish("t", newMessage()))
		(<-msgs).Nack()
		for _, pause := range []time.Duration{100, 200, 400, 450, 450} {
			pause *= time.Millisecond
			nackedAt := time.Now()
			msg := <-msgs
			require.GreaterOrEqual(t, time.Since(nackedAt), pause)
			require.LessOrEqual(t, time.Since(nackedAt), pause+notice)
			msg.Nack()
		}
		time.Sleep(time.Hour)
		require.Empty(t, ready(msgs), "MaxRedeliveries is 5")
		stats := ps.Stats()
		require.EqualValues(t, 5, stats.Redelivered)
		require.EqualValues(t, 6, stats.Nacked)
		require.EqualValues(t, 1, stats.Dropped)
	})
}

func TestLaterMessagesWaitBehindANackedOne(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{}, func(t *testing.T, ps *memory.PubSub) {
		msgs := subscribe(t, ps, "t")
		require.NoError(t, ps.Publish("t", numbered(3)...))
		var got []string
		for i := range 5 {
			msg := <-msgs
			got = append(got, msg.UUID)
			if i < 2 {
				msg.Nack()
			} else {
				msg.Ack()
			}
			require.NoError(t, ps.Publish("t", message.NewMessage("x", nil))) // traffic changes nothing
		}
		require.Equal(t, []string{"0", "0", "0", "1", "2"}, got)
	})
}

func TestRedeliveredMessageIsAsPublished(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{}, func(t *testing.T, ps *memory.PubSub) {
		msgs := subscribe(t, ps, "t")
		published := message.NewMessage("0", []byte("p"))
		published.Metadata.Set("k", "v")
		require.NoError(t, ps.Publish("t", published))
		first := <-msgs
		first.Metadata.Set("k", "changed")
		first.UUID = "changed"
		first.Payload = nil
		first.Nack()
		require.True(t, (<-msgs).Equals(published))
	})
}

func TestDeadLetter(t *testing.T) {
	t.Parallel()
	opts := memory.Options{MaxRedeliveries: 2, DeadLetterTopic: "dead"}
	bubble(t, opts, func(t *testing.T, ps *memory.PubSub) {
		msgs, letters := subscribe(t, ps, "t"), subscribe(t, ps, "dead")
		bad := message.NewMessage("bad", []byte("p"))
		bad.Metadata.Set("k", "v")
		require.NoError(t, ps.Publish("t", bad, message.NewMessage("good", nil)))
		for range 3 {
			msg := <-msgs
			require.Equal(t, "bad", msg.UUID)
			msg.Nack()
		}
		letter := <-letters
		require.Equal(t, "bad", letter.UUID)
		require.EqualValues(t, "p", letter.Payload)
		require.Equal(t, message.Metadata{
			"k":                             "v",
			memory.MetadataDeadLetterTopic:  "t",
			memory.MetadataDeadLetterReason: "nacked",
			memory.MetadataDeadLetterCount:  "3",
		}, letter.Metadata)
		letter.Ack()
		good := <-msgs
		require.Equal(t, "good", good.UUID)
		good.Ack()
		require.NoError(t, ps.Drain(t.Context()))
		stats := ps.Stats()
		require.EqualValues(t, 1, stats.DeadLettered)
		require.Zero(t, stats.Dropped)
	})
}

func TestDropIsReported(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, topic string
		full        bool
		want        error
	}{
		{name: "no dead-letter topic", topic: "t"},
		{name: "on the dead-letter topic itself", topic: "dead"},
		{name: "dead-letter topic is full", topic: "t", full: true, want: memory.ErrFull},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var dropped []string
			var reason error
			opts := memory.Options{MaxRedeliveries: -1, QueueSize: 1, WhenFull: memory.Fail}
			opts.OnDropped = func(topic string, msg *message.Message, err error) {
				dropped, reason = append(dropped, topic, msg.UUID), err
			}
			if c.full || c.topic == "dead" {
				opts.DeadLetterTopic = "dead"
			}
			bubble(t, opts, func(t *testing.T, ps *memory.PubSub) {
				msgs := subscribe(t, ps, c.topic)
				if c.full {
					subscribe(t, ps, "dead")
					require.NoError(t, ps.Publish("dead", numbered(2)...))
				}
				require.NoError(t, ps.Publish(c.topic, message.NewMessage("bad", nil)))
				(<-msgs).Nack()
				time.Sleep(time.Second)
				synctest.Wait()
				require.Equal(t, []string{c.topic, "bad"}, dropped)
				require.Error(t, reason)
				if c.want != nil {
					require.ErrorIs(t, reason, c.want)
				}
				stats := ps.Stats()
				require.EqualValues(t, 1, stats.Dropped)
				require.Zero(t, stats.DeadLettered)
				require.Zero(t, stats.Redelivered, "MaxRedeliveries is none")
			})
		})
	}
}

// A subscription that waits for room on the dead-letter topic can still end.
func TestSubscriptionEndsWhileItsDeadLetterWaits(t *testing.T) {
	t.Parallel()
	opts := memory.Options{MaxRedeliveries: -1, QueueSize: 1, DeadLetterTopic: "dead"}
	bubble(t, opts, func(t *testing.T, ps *memory.PubSub) {
		subscribe(t, ps, "dead")
		require.NoError(t, ps.Publish("dead", numbered(2)...))
		ctx, cancel := context.WithCancel(t.Context())
		msgs, err := ps.Subscribe(ctx, "t")
		require.NoError(t, err)
		require.NoError(t, ps.Publish("t", numbered(2)...))
		(<-msgs).Nack()
		time.Sleep(time.Second)
		require.Empty(t, ready(msgs), "the next waits until the dead letter is accepted")
		cancel()
		requireClosed(t, msgs)
		stats := ps.Stats()
		require.EqualValues(t, 2, stats.Abandoned)
		require.Zero(t, stats.DeadLettered+stats.Dropped)
	})
}
