package memory_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
)

// bubbleGoroutines counts the goroutines of the caller's bubble.
func bubbleGoroutines() int {
	buf := make([]byte, 1<<20)
	stacks := string(buf[:runtime.Stack(buf, true)])
	_, own, _ := strings.Cut(stacks, "synctest bubble ") // the caller's stack comes first
	id, _, _ := strings.Cut(own, "]")
	return strings.Count(stacks, "synctest bubble "+id+"]")
}

func TestUnrouted(t *testing.T) {
	t.Parallel()
	for _, handOver := range []bool{false, true} {
		var got []string
		opts := memory.Options{HandOver: handOver, OnUnrouted: func(topic string, msg *message.Message) {
			msg.Metadata.Set("seen", "yes") // the hook may change what it gets
			got = append(got, topic, msg.UUID)
		}}
		bubble(t, opts, func(t *testing.T, ps *memory.PubSub) {
			require.NoError(t, ps.Publish("nobody", numbered(2)...))
			require.Equal(t, []string{"nobody", "0", "nobody", "1"}, got)
			stats := ps.Stats()
			require.EqualValues(t, 2, stats.Unrouted)
			require.Zero(t, stats.Published)
		})
		got = nil
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	opts := memory.Options{MaxUnacked: 4, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	bubble(t, opts, func(t *testing.T, ps *memory.PubSub) {
		msgs := subscribe(t, ps, "t")
		require.NoError(t, ps.Publish("t", numbered(10)...))
		(<-msgs).Ack()
		unacked := <-msgs

		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { assert.NoError(t, ps.Close()) })
		}
		wg.Wait()
		requireClosed(t, msgs) // nothing is left in it
		unacked.Ack()          // harmless

		require.ErrorIs(t, ps.Publish("t", newMessage()), memory.ErrClosed)
		require.ErrorIs(t, ps.Publish("other", newMessage()), memory.ErrClosed)
		require.ErrorIs(t, ps.Publish("t"), memory.ErrClosed)
		require.ErrorIs(t, ps.Drain(t.Context()), memory.ErrClosed)
		_, err := ps.Subscribe(t.Context(), "t")
		require.ErrorIs(t, err, memory.ErrClosed)

		stats := ps.Stats()
		require.EqualValues(t, 10, stats.Published)
		require.EqualValues(t, 1, stats.Acked)
		require.EqualValues(t, 9, stats.Abandoned)
		require.Zero(t, stats.Queued+stats.Unacked)
		require.Contains(t, log.String(), "messages left")
	})
}

func TestSubscriptionEndsWithItsContext(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{}, func(t *testing.T, ps *memory.PubSub) {
		ctx, cancel := context.WithCancel(t.Context())
		ending, err := ps.Subscribe(ctx, "t")
		require.NoError(t, err)
		staying := subscribe(t, ps, "t")
		require.NoError(t, ps.Publish("t", numbered(3)...))
		cancel()
		synctest.Wait()
		requireClosed(t, ending)
		for range 3 {
			(<-staying).Ack()
		}
		require.NoError(t, ps.Publish("t", newMessage()))
		(<-staying).Ack()
		stats := ps.Stats()
		require.EqualValues(t, 3, stats.Abandoned)
		require.EqualValues(t, 4, stats.Acked)
	})
}

func TestDrain(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{MaxUnacked: 2}, func(t *testing.T, ps *memory.PubSub) {
		require.NoError(t, ps.Drain(t.Context()), "nothing to drain")
		msgs := subscribe(t, ps, "t")
		require.NoError(t, ps.Publish("t", numbered(5)...))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := ps.Drain(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var left *memory.DrainError
		require.ErrorAs(t, err, &left)
		require.Equal(t, 3, left.Queued)
		require.Equal(t, 2, left.Unacked)

		done := started(func() error { return ps.Drain(t.Context()) })
		for range 4 {
			(<-msgs).Ack()
		}
		last := <-msgs
		time.Sleep(time.Second)
		requireBlocked(t, done)
		last.Ack()
		require.NoError(t, <-done)
	})
}

func TestDrainEndsOnClose(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{}, func(t *testing.T, ps *memory.PubSub) {
		subscribe(t, ps, "t")
		require.NoError(t, ps.Publish("t", newMessage()))
		done := started(func() error { return ps.Drain(t.Context()) })
		requireBlocked(t, done)
		require.NoError(t, ps.Close())
		require.ErrorIs(t, <-done, memory.ErrClosed)
	})
}

// Everything at once, and in the end every message is accounted for.
func TestNothingIsLostInTheTurmoil(t *testing.T) {
	t.Parallel()
	for _, opts := range []memory.Options{
		{QueueSize: 3, InitialBackoff: time.Microsecond},
		{QueueSize: 3, MaxUnacked: 5, InitialBackoff: time.Microsecond, MaxRedeliveries: 1, DeadLetterTopic: "b"},
		{QueueSize: 3, MaxUnacked: 2, WhenFull: memory.Fail, HandOver: true, MaxRedeliveries: -1},
	} {
		ps := memory.New(opts)
		var wg sync.WaitGroup
		for i := range 4 {
			topic := string("ab"[i%2])
			wg.Go(func() { // subscribers that come and go
				for round := range 20 {
					ctx, cancel := context.WithCancel(context.Background())
					msgs, err := ps.Subscribe(ctx, topic)
					if err != nil {
						cancel()
						return
					}
					for n := 0; n < 5+round; n++ {
						msg, ok := <-msgs
						if !ok {
							break
						}
						if n%3 == 2 {
							msg.Nack()
						} else {
							msg.Ack()
						}
					}
					cancel()
					for range msgs {
					}
				}
			})
			wg.Go(func() { // publishers, until Close
				for {
					err := ps.Publish(topic, numbered(2)...)
					if !errors.Is(err, memory.ErrClosed) {
						ps.Stats()
						continue
					}
					return
				}
			})
		}
		time.AfterFunc(30*time.Millisecond, func() { _ = ps.Close() })
		wg.Wait()
		require.NoError(t, ps.Close())
		stats := ps.Stats()
		require.Zero(t, stats.Queued+stats.Unacked)
		require.GreaterOrEqual(t, stats.Acked+stats.DeadLettered+stats.Dropped+stats.Abandoned, stats.Published)
	}
}
