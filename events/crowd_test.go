package events_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/events"
)

// allocated returns how many bytes do allocates.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A listener more, or less, costs the same however many there are. It is not parallel: it counts bytes, which a list
// that is copied each time needs in the square of its length.
func TestRule24ManyListenersOfOneEvent(t *testing.T) {
	const n = 20_000
	ignore := func(context.Context, string, json.RawMessage) {}
	for _, c := range []struct {
		pattern string
		opts    events.ListenOptions
	}{{"e", events.ListenOptions{}}, {"e.*", events.ListenOptions{}}, {"e", events.ListenOptions{Group: "g"}}} {
		h, b := newHub(t, bus.Options{})
		all := make([]*events.Listener, n)
		opened := allocated(func() {
			for i := range all {
				var err error
				all[i], err = h.ListenRaw(c.pattern, ignore, c.opts)
				require.NoError(t, err)
			}
		})
		assert.Less(t, opened, uint64(n*3000), "bytes for a listener of %q: %d", c.pattern, opened/n)
		closed := allocated(func() {
			for i := range n / 2 {
				all[(i*7919)%n].Close()
			}
		})
		assert.Less(t, closed, uint64(n*300))
		assert.Equal(t, n/2, h.Stats().Listeners)
		require.NoError(t, b.Close())
		assert.Less(t, allocated(h.Close), uint64(n*300))
		for _, l := range all {
			await(t, l.Done())
		}
		assert.Zero(t, h.Stats().Listeners)
	}
}

func TestRule24TenThousandGroups(t *testing.T) {
	t.Parallel()
	const n, each = 10_000, 10
	h, _ := newHub(t, bus.Options{})
	done := make(chan struct{}, n*each)
	for i := range n {
		pattern := "e"
		if i%2 == 0 {
			pattern = ">"
		}
		_, err := h.ListenRaw(pattern, func(context.Context, string, json.RawMessage) { done <- struct{}{} },
			events.ListenOptions{Group: fmt.Sprint("g", i/2), QueueSize: 2 * each})
		require.NoError(t, err)
	}
	begin := time.Now()
	for range each {
		emit(t, h, "e", "")
	}
	require.Less(t, time.Since(begin), patience, "an emit is not quadratic")
	require.NoError(t, h.Flush(within(t)))
	require.Len(t, done, n/2*each, "each group gets each event once")
}
