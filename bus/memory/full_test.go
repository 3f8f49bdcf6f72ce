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

func TestFailIsAllOrNothing(t *testing.T) {
	t.Parallel()
	opts := memory.Options{QueueSize: 2, WhenFull: memory.Fail}
	bubble(t, opts, func(t *testing.T, ps *memory.PubSub) {
		quick, stuck := subscribe(t, ps, "t"), subscribe(t, ps, "t")
		require.NoError(t, ps.Publish("t", numbered(2)...))
		for range 2 {
			(<-quick).Ack()
		}
		err := ps.Publish("t", numbered(4)[2:]...) // stuck has room for one more
		require.ErrorIs(t, err, memory.ErrFull)
		var perr *memory.PublishError
		require.ErrorAs(t, err, &perr)
		require.Equal(t, memory.PublishError{Topic: "t", Published: 0, Err: memory.ErrFull}, *perr)
		require.Empty(t, ready(quick), "no subscriber gets a message whose Publish failed")

		require.NoError(t, ps.Publish("t", numbered(3)[2]))
		require.ErrorIs(t, ps.Publish("t", numbered(4)[3]), memory.ErrFull)
		require.Equal(t, []string{"2"}, uuids(ready(quick)))
		for i := range 3 {
			msg := <-stuck
			require.Equal(t, fmt.Sprint(i), msg.UUID)
			msg.Ack()
		}
		require.Empty(t, ready(stuck))
		require.EqualValues(t, 3, ps.Stats().Published)
	})
}

// Acks that nobody has noticed yet must not make a Publish fail.
func TestFailCountsAcksThatWereNotNoticed(t *testing.T) {
	t.Parallel()
	opts := memory.Options{MaxUnacked: 8, QueueSize: 1, WhenFull: memory.Fail}
	bubble(t, opts, func(t *testing.T, ps *memory.PubSub) {
		msgs := subscribe(t, ps, "t")
		require.NoError(t, ps.Publish("t", numbered(9)...))
		require.ErrorIs(t, ps.Publish("t", newMessage()), memory.ErrFull)
		(<-msgs).Ack()
		require.NoError(t, ps.Publish("t", newMessage()))
		require.ErrorIs(t, ps.Publish("t", newMessage()), memory.ErrFull)
	})
}

// jam returns a full topic's only subscription: one message out, two queued.
func jam(t *testing.T, ctx context.Context, ps *memory.PubSub) <-chan *message.Message {
	t.Helper()
	msgs, err := ps.Subscribe(ctx, "t")
	require.NoError(t, err)
	require.NoError(t, ps.Publish("t", numbered(3)...))
	return msgs
}

func TestBlockedPublishEnds(t *testing.T) {
	t.Parallel()
	opts := memory.Options{QueueSize: 2}

	t.Run("when there is room", func(t *testing.T) {
		t.Parallel()
		bubble(t, opts, func(t *testing.T, ps *memory.PubSub) {
			msgs := jam(t, t.Context(), ps)
			done := started(func() error { return ps.Publish("t", message.NewMessage("3", nil)) })
			requireBlocked(t, done)
			for i := range 4 {
				msg := <-msgs
				require.Equal(t, fmt.Sprint(i), msg.UUID)
				msg.Ack()
			}
			require.NoError(t, <-done)
		})
	})
	t.Run("on Close", func(t *testing.T) {
		t.Parallel()
		bubble(t, opts, func(t *testing.T, ps *memory.PubSub) {
			jam(t, t.Context(), ps)
			first := started(func() error { return ps.Publish("t", newMessage()) })
			second := started(func() error { return ps.Publish("t", newMessage()) })
			requireBlocked(t, first)
			requireBlocked(t, second)
			require.NoError(t, ps.Close())
			require.ErrorIs(t, <-first, memory.ErrClosed)
			require.ErrorIs(t, <-second, memory.ErrClosed)
		})
	})
	t.Run("with the subscription", func(t *testing.T) {
		t.Parallel()
		var unrouted []string
		opts := opts
		opts.OnUnrouted = func(_ string, msg *message.Message) { unrouted = append(unrouted, msg.UUID) }
		bubble(t, opts, func(t *testing.T, ps *memory.PubSub) {
			ctx, cancel := context.WithCancel(t.Context())
			jam(t, ctx, ps)
			done := started(func() error { return ps.Publish("t", message.NewMessage("3", nil)) })
			requireBlocked(t, done)
			cancel()
			require.NoError(t, <-done)
			require.Equal(t, []string{"3"}, unrouted)
		})
	})
	t.Run("with the message's context", func(t *testing.T) {
		t.Parallel()
		bubble(t, opts, func(t *testing.T, ps *memory.PubSub) {
			msgs := jam(t, t.Context(), ps)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			holder := started(func() error { return ps.Publish("t", withContext(ctx, "late")) })
			waiter := started(func() error { return ps.Publish("t", withContext(ctx, "later")) })
			requireBlocked(t, holder)
			requireBlocked(t, waiter)
			require.ErrorIs(t, <-holder, context.DeadlineExceeded)
			require.ErrorIs(t, <-waiter, context.DeadlineExceeded)

			require.ErrorIs(t, ps.Publish("t", withContext(ctx, "never")), context.DeadlineExceeded)
			(<-msgs).Ack()
			synctest.Wait()
			require.NoError(t, ps.Publish("t", withContext(ctx, "3")), "one that need not wait does not look")
			for i := 1; i < 4; i++ {
				msg := <-msgs
				require.Equal(t, fmt.Sprint(i), msg.UUID)
				msg.Ack()
			}
		})
	})
}

func TestPublishErrorSaysHowFarPublishCame(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{QueueSize: 2}, func(t *testing.T, ps *memory.PubSub) {
		msgs := subscribe(t, ps, "t")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		batch := numbered(5)
		batch[3].SetContext(ctx)
		err := ps.Publish("t", batch...)
		var perr *memory.PublishError
		require.ErrorAs(t, err, &perr)
		require.Equal(t, 3, perr.Published)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		for i := range 3 {
			msg := <-msgs
			require.Equal(t, fmt.Sprint(i), msg.UUID)
			msg.Ack()
		}
		require.Empty(t, ready(msgs))
	})
}

func TestBlockedPublishersGoByTurn(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{QueueSize: 2}, func(t *testing.T, ps *memory.PubSub) {
		msgs := jam(t, t.Context(), ps)
		var done []<-chan error
		for i := 3; i < 8; i++ {
			msg := message.NewMessage(fmt.Sprint(i), nil)
			done = append(done, started(func() error { return ps.Publish("t", msg) }))
			requireBlocked(t, done[len(done)-1])
		}
		for i := range 8 {
			msg := <-msgs
			require.Equal(t, fmt.Sprint(i), msg.UUID)
			msg.Ack()
		}
		for _, d := range done {
			require.NoError(t, <-d)
		}
	})
}

// Room that comes while others wait is not for newcomers.
func TestNewcomersGoBehindBlockedPublishers(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{QueueSize: 4}, func(t *testing.T, ps *memory.PubSub) {
		msgs := subscribe(t, ps, "t")
		require.NoError(t, ps.Publish("t", numbered(5)...))
		blocked := started(func() error { return ps.Publish("t", message.NewMessage("5", nil)) })
		requireBlocked(t, blocked)
		(<-msgs).Ack()
		synctest.Wait()
		newcomer := started(func() error { return ps.Publish("t", message.NewMessage("6", nil)) })
		for i := 1; i < 7; i++ {
			msg := <-msgs
			require.Equal(t, fmt.Sprint(i), msg.UUID)
			msg.Ack()
		}
		require.NoError(t, <-blocked)
		require.NoError(t, <-newcomer)
	})
}

// A hook runs on the goroutine that would otherwise make room.
func TestCloseFreesAHookThatPublishes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ps *memory.PubSub
		result := make(chan error, 1)
		ps = memory.New(memory.Options{QueueSize: 1, MaxRedeliveries: -1, OnDropped: func(string, *message.Message, error) {
			result <- ps.Publish("t", numbered(3)...)
		}})
		msgs := subscribe(t, ps, "t")
		require.NoError(t, ps.Publish("t", newMessage()))
		(<-msgs).Nack()
		time.Sleep(time.Second)
		synctest.Wait()
		require.Empty(t, result, "the hook's Publish must wait")
		require.NoError(t, ps.Close())
		require.ErrorIs(t, <-result, memory.ErrClosed)
	})
}

// The blocked message belongs to whoever subscribes to the topic next.
func TestBlockedPublishFindsTheNextSubscription(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{QueueSize: 2}, func(t *testing.T, ps *memory.PubSub) {
		ctx, cancel := context.WithCancel(t.Context())
		old := jam(t, ctx, ps)
		done := started(func() error { return ps.Publish("t", message.NewMessage("3", nil)) })
		requireBlocked(t, done)
		next := subscribe(t, ps, "t")
		cancel()
		require.NoError(t, <-done)
		require.Equal(t, []string{"3"}, uuids(ready(next)))
		requireClosed(t, old)
		require.Zero(t, ps.Stats().Unrouted)
	})
}
