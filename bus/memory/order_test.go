package memory_test

import (
	"context"
	"fmt"
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

func TestSubscribersSeeOneOrder(t *testing.T) {
	t.Parallel()
	const publishers, each, subscribers = 4, 500, 3
	for _, opts := range []memory.Options{
		{},
		{QueueSize: 1},
		{MaxUnacked: 7, QueueSize: 5},
		{MaxUnacked: 256},
		{MaxUnacked: 8, HandOver: true},
	} {
		t.Run(fmt.Sprintf("unacked=%d,queue=%d", opts.MaxUnacked, opts.QueueSize), func(t *testing.T) {
			t.Parallel()
			ps := memory.New(opts)
			defer ps.Close()
			var wg sync.WaitGroup
			got := make([][]string, subscribers)
			for i := range got {
				msgs := subscribe(t, ps, "t")
				wg.Go(func() {
					for range publishers * each {
						msg := <-msgs
						got[i] = append(got[i], msg.UUID)
						msg.Ack()
					}
				})
			}
			for p := range publishers {
				wg.Go(func() {
					for i := range each {
						assert.NoError(t, ps.Publish("t", message.NewMessage(fmt.Sprintf("%d:%d", p, i), nil)))
					}
				})
			}
			wg.Wait()

			for i := range subscribers {
				require.Equal(t, got[0], got[i], "subscribers 0 and %d disagree", i)
			}
			next := make(map[string]int)
			for _, id := range got[0] {
				p, n, _ := strings.Cut(id, ":")
				require.Equal(t, fmt.Sprint(next[p]), n, "message of publisher %s out of order", p)
				next[p]++
			}
		})
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{MaxUnacked: 3}, func(t *testing.T, ps *memory.PubSub) {
		msgs := subscribe(t, ps, "t")
		require.NoError(t, ps.Publish("t", numbered(6)...))

		first := ready(msgs)
		require.Equal(t, []string{"0", "1", "2"}, uuids(first), "MaxUnacked bounds what is out")

		first[1].Ack() // any ack makes room, not only the oldest
		time.Sleep(20 * time.Millisecond)
		require.Equal(t, []string{"3"}, uuids(ready(msgs)))

		first[0].Ack()
		first[2].Ack()
		time.Sleep(20 * time.Millisecond)
		require.Equal(t, []string{"4", "5"}, uuids(ready(msgs)))
	})
}

// An ack must be noticed at once when it is the only thing that moves the
// subscription on.
func TestAckOfTheOnlyUnackedIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	for _, pause := range []time.Duration{0, time.Minute} {
		bubble(t, memory.Options{}, func(t *testing.T, ps *memory.PubSub) {
			msgs := subscribe(t, ps, "t")
			synctest.Wait() // the pump sleeps
			require.NoError(t, ps.Publish("t", numbered(2)...))
			first := ready(msgs)
			require.Len(t, first, 1)
			time.Sleep(pause)
			before := time.Now()
			first[0].Ack()
			require.Equal(t, []string{"1"}, uuids(ready(msgs)))
			require.Equal(t, before, time.Now())
		})
	}
}

func TestForgottenAckHoldsOnlyItsOwnPlace(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{MaxUnacked: 2}, func(t *testing.T, ps *memory.PubSub) {
		msgs := subscribe(t, ps, "t")
		require.NoError(t, ps.Publish("t", numbered(500)...))
		<-msgs // never acked
		began := time.Now()
		for i := 1; i < 500; i++ {
			msg := <-msgs
			require.Equal(t, fmt.Sprint(i), msg.UUID)
			msg.Ack()
		}
		require.Less(t, time.Since(began), 10*time.Millisecond, "the rest must not wait for patrols")
		require.Equal(t, 1, ps.Stats().Unacked)
	})
}

func TestNoGoroutinePerMessage(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{MaxUnacked: 1000}, func(t *testing.T, ps *memory.PubSub) {
		msgs := subscribe(t, ps, "t")
		synctest.Wait()
		before := bubbleGoroutines()
		require.NoError(t, ps.Publish("t", numbered(1500)...))
		out := ready(msgs)
		require.Len(t, out, 1000)
		var cancels []context.CancelFunc
		for _, msg := range out { // what a timeout middleware does
			_, cancel := context.WithTimeout(msg.Context(), time.Hour)
			cancels = append(cancels, cancel)
		}
		synctest.Wait()
		require.Equal(t, before, bubbleGoroutines())
		for _, cancel := range cancels {
			cancel()
		}
	})
}
