package memory_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
)

func TestNewRefusesNegativeSizes(t *testing.T) {
	t.Parallel()
	for field, opts := range map[string]memory.Options{
		"MaxUnacked":     {MaxUnacked: -1},
		"QueueSize":      {QueueSize: -1},
		"InitialBackoff": {InitialBackoff: -1},
		"MaxBackoff":     {MaxBackoff: -1},
	} {
		require.PanicsWithValue(t, "memory: negative Options."+field, func() { memory.New(opts) })
	}
}

func TestPublishRefusesNil(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{HandOver: true}, func(t *testing.T, ps *memory.PubSub) {
		msgs := subscribe(t, ps, "t")
		require.Panics(t, func() { _ = ps.Publish("t", newMessage(), nil) })
		require.NoError(t, ps.Publish("t", newMessage()), "the topic still works")
		(<-msgs).Ack()
	})
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	bubble(t, memory.Options{WhenFull: memory.Fail}, func(t *testing.T, ps *memory.PubSub) {
		msgs := subscribe(t, ps, "t")
		require.NoError(t, ps.Publish("t", numbered(1+1024)...), "1 out and 1,024 queued")
		require.ErrorIs(t, ps.Publish("t", newMessage()), memory.ErrFull)
		began := time.Now()
		for range 11 {
			msg := <-msgs
			require.Equal(t, "0", msg.UUID)
			msg.Nack()
		}
		require.Equal(t, "1", (<-msgs).UUID, "after 10 redeliveries the next is due")
		require.InDelta(t, 42.7, time.Since(began).Seconds(), 0.3)
	})
}
