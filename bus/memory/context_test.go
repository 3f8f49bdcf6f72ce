package memory_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
)

type ctxKey struct{}

func TestMessageContextEnds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		end  func(msg *message.Message, cancel context.CancelFunc, ps *memory.PubSub)
	}{
		{"on ack", func(msg *message.Message, _ context.CancelFunc, _ *memory.PubSub) { msg.Ack() }},
		{"on nack", func(msg *message.Message, _ context.CancelFunc, _ *memory.PubSub) { msg.Nack() }},
		{"with the subscription", func(_ *message.Message, cancel context.CancelFunc, _ *memory.PubSub) { cancel() }},
		{"on Close", func(_ *message.Message, _ context.CancelFunc, ps *memory.PubSub) { _ = ps.Close() }},
	} {
		for i := range 4 {
			unacked, askFirst := []int{1, 4}[i/2], i%2 == 0
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				bubble(t, memory.Options{MaxUnacked: unacked}, func(t *testing.T, ps *memory.PubSub) {
					ctx, cancel := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "v"))
					defer cancel()
					msgs, err := ps.Subscribe(ctx, "t")
					require.NoError(t, err)
					require.NoError(t, ps.Publish("t", numbered(unacked)...))
					out := ready(msgs)
					asked, waited := out[len(out)-1].Context(), out[len(out)-1].Context().Done()
					child, stop := context.WithCancel(asked)
					defer stop()
					time.Sleep(time.Second)
					require.NoError(t, asked.Err())
					require.NoError(t, child.Err())
					require.Equal(t, "v", asked.Value(ctxKey{}))

					c.end(out[len(out)-1], cancel, ps)
					before := time.Now()
					if askFirst {
						require.ErrorIs(t, asked.Err(), context.Canceled, "Err is never late")
					}
					<-waited
					<-child.Done()
					require.LessOrEqual(t, time.Since(before), notice)
					require.ErrorIs(t, asked.Err(), context.Canceled)
					require.ErrorIs(t, context.Cause(child), context.Canceled)
				})
			})
		}
	}
}

// What is asked only after the ack must be right too.
func TestMessageContextAskedLate(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{}, func(t *testing.T, ps *memory.PubSub) {
		msgs := subscribe(t, ps, "t")
		require.NoError(t, ps.Publish("t", newMessage()))
		msg := <-msgs
		msg.Ack()
		synctest.Wait()
		select {
		case <-msg.Context().Done():
		default:
			require.Fail(t, "Done is open after the ack")
		}
		time.Sleep(time.Second)
		require.ErrorIs(t, msg.Context().Err(), context.Canceled)
	})
}

func TestMessageContextHasTheSubscriptionsDeadline(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{}, func(t *testing.T, ps *memory.PubSub) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		msgs, err := ps.Subscribe(ctx, "t")
		require.NoError(t, err)
		require.NoError(t, ps.Publish("t", newMessage()))
		msg := <-msgs
		want, _ := ctx.Deadline()
		got, ok := msg.Context().Deadline()
		require.True(t, ok)
		require.Equal(t, want, got)
		<-msg.Context().Done()
		require.ErrorIs(t, msg.Context().Err(), context.DeadlineExceeded)
		requireClosed(t, msgs)
		require.ErrorIs(t, msg.Context().Err(), context.DeadlineExceeded, "an error once given stays")
	})
}

func TestPreserveContext(t *testing.T) {
	t.Parallel()
	for _, handOver := range []bool{false, true} {
		bubble(t, memory.Options{PreserveContext: true, HandOver: handOver}, func(t *testing.T, ps *memory.PubSub) {
			msgs := subscribe(t, ps, "t")
			ctx := context.WithValue(t.Context(), ctxKey{}, "published")
			require.NoError(t, ps.Publish("t", withContext(ctx, "0")))
			first := <-msgs
			require.Equal(t, ctx, first.Context())
			first.Nack()
			again := <-msgs
			require.Equal(t, ctx, again.Context())
			again.Ack()
			require.NoError(t, ps.Drain(t.Context()))
			require.NoError(t, again.Context().Err(), "the ack does not cancel the publisher's context")
		})
	}
}
