package brokers_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// bounded are the backends whose queues have MaxMessages; those of the others have no bound.
func bounded(k kind) bool {
	return k.name == "jetstream-embedded" || k.name == "jetstream" || k.name == "redis"
}

// TestRule28WhatIsConfirmedIsNotDropped: at MaxMessages the queue refuses, and keeps what it has confirmed.
func TestRule28WhatIsConfirmedIsNotDropped(t *testing.T) {
	t.Parallel()
	eachDurable(t, func(t *testing.T, k kind) {
		const most, sent = 50, 80
		b := k.open(t, brokers.Options{MaxMessages: most})
		topic := b.Topic("work")
		q, err := b.Queue("g")
		require.NoError(t, err)
		for name, to := range map[string]message.Publisher{"to the topic": b.Publisher(), "to the queue": q.(message.Publisher)} {
			in, leave := queue(t, b, "g", topic)
			leave()
			closes(t, in, "the group's subscription")
			confirmed := make(map[string]bool)
			for i := range sent {
				m := text(fmt.Sprint(name, i))
				switch err := to.Publish(topic, m); {
				case err == nil:
					confirmed[string(m.Payload)] = true
				default:
					require.ErrorIs(t, err, brokers.ErrQueueFull)
					require.ErrorIs(t, err, bus.ErrFull)
				}
			}
			want := sent
			if bounded(k) {
				want = most
			}
			require.Len(t, confirmed, want, name)
			in, leave = queue(t, b, "g", topic)
			for len(confirmed) > 0 {
				got := take(t, in)
				require.True(t, confirmed[got], "%s was confirmed", got)
				delete(confirmed, got)
			}
			leave()
			closes(t, in, "the group's subscription")
		}
	})
}

// TestDurableCallWithoutRoomFails: at once, with an error of its own, which crosses the wire.
func TestDurableCallWithoutRoomFails(t *testing.T) {
	t.Parallel()
	eachDurable(t, func(t *testing.T, k kind) {
		if !bounded(k) {
			return
		}
		b := k.open(t, brokers.Options{MaxMessages: 3})
		r, f := caller(t, b)
		free := make(chan struct{})
		serveJob(t, b, "worker", 1, func(_ context.Context, n task) (string, error) {
			<-free
			return fmt.Sprint(n.N), nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, f.Await(ctx, "job.run"))
		const calls = 8
		ends := make(chan error, calls)
		for i := range calls {
			go func() {
				_, err := commands.Execute(ctx, r, run, task{N: i})
				ends <- err
			}()
		}
		for range calls - 3 {
			err := <-ends
			require.ErrorIs(t, err, commands.ErrQueueFull)
			require.ErrorIs(t, err, commands.ErrInternal)
		}
		close(free)
		for range 3 {
			require.NoError(t, <-ends)
		}
	})
}

// TestSmallerOptionsDropNothing: a process that opens the namespace with other limits.
func TestSmallerOptionsDropNothing(t *testing.T) {
	t.Parallel()
	eachDurable(t, func(t *testing.T, k kind) {
		url := k.url(t)
		o := brokers.Options{Namespace: namespace(), Logger: silent}
		if k.purge != nil {
			t.Cleanup(func() { k.purge(t, url, o.Namespace) })
		}
		b := k.openAt(t, url, o)
		in, leave := queue(t, b, "g", "work")
		leave()
		closes(t, in, "the group's subscription")
		const n = 300
		messages := make([]*message.Message, n)
		for i := range messages {
			messages[i] = text(fmt.Sprint(i))
		}
		require.NoError(t, b.Publisher().Publish("work", messages...))
		o.MaxMessages, o.Retention = 10, time.Second
		small := k.openAt(t, url, o)
		err := small.Publisher().Publish("work", text(fmt.Sprint(n)))
		require.True(t, err == nil || errors.Is(err, brokers.ErrQueueFull), "%v", err)
		follows := subscribe(t, small, "other") // on Redis that trims
		publish(t, small, "other", "x")()
		require.Equal(t, "x", take(t, follows))
		in, _ = queue(t, b, "g", "work")
		for i := range n {
			require.Equal(t, fmt.Sprint(i), take(t, in))
		}
	})
}

// TestTrimmedIsCounted: what MaxMessages takes of a fan-out topic.
func TestTrimmedIsCounted(t *testing.T) {
	t.Parallel()
	eachDurable(t, func(t *testing.T, k kind) {
		if !bounded(k) {
			return
		}
		b := k.open(t, brokers.Options{MaxMessages: 100})
		messages := make([]*message.Message, 500)
		for i := range messages {
			messages[i] = text(fmt.Sprint(i))
		}
		require.NoError(t, b.Publisher().Publish("events", messages...))
		assert.Eventually(t, func() bool { return b.Stats().Trimmed >= 300 }, patience, 10*time.Millisecond)
	})
}
