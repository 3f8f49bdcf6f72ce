package pairing_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
)

// TestRule16EventsForAGroupWhoseLastListenerHasClosedAreCounted: the process that was picked is alive, and nobody in it
// listens any more when the event comes.
func TestRule16EventsForAGroupWhoseLastListenerHasClosedAreCounted(t *testing.T) {
	t.Parallel()
	ps := memory.New(memory.Options{})
	defer func() { require.NoError(t, ps.Close()) }()
	emitter, picked := join(t, ps, "emitter", pairing.FleetOptions{}), join(t, ps, "picked", pairing.FleetOptions{})
	defer emitter.end(t)
	defer picked.end(t)
	listen := func(group string) *events.Listener {
		l, err := picked.Events().ListenRaw("e", func(context.Context, string, json.RawMessage) {}, events.ListenOptions{Group: group})
		require.NoError(t, err)
		return l
	}
	leaves, stays := listen("g"), listen("h")
	require.Eventually(t, func() bool {
		for _, m := range emitter.fleet.Members() {
			if m.ID == "picked" && len(m.Groups) == 2 {
				return true
			}
		}
		return false
	}, 10*time.Second, time.Millisecond)
	emitter.line.set(func() { emitter.line.hold = func(topic string) bool { return strings.Contains(topic, "events") } })
	const n = 20
	for range n {
		require.NoError(t, emitter.Events().EmitRaw(context.Background(), "e", nil))
	}
	require.Eventually(t, func() bool {
		emitter.line.mu.Lock()
		defer emitter.line.mu.Unlock()
		held := 0
		for _, messages := range emitter.line.held {
			held += len(messages)
		}
		return held >= n
	}, 10*time.Second, time.Millisecond)
	leaves.Close()
	emitter.line.release(t)
	require.Eventually(t, func() bool { return stays.Stats().Handled == n }, 10*time.Second, time.Millisecond)
	require.EqualValues(t, n, picked.Events().Stats().Unserved)
	require.Zero(t, leaves.Stats().Handled)
}
