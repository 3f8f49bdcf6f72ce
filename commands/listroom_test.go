package commands_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

// TestRule23AListWaitsForRoom: a list that is larger than the queue of the link, and what changes afterwards faster than that takes
// it, arrives whole.
func TestRule23AListWaitsForRoom(t *testing.T) {
	t.Parallel()
	root := newRegistry(t, commands.Config{ID: "root"})
	leaf := newRegistry(t, commands.Config{ID: "leaf", MaxMessageBytes: 16 << 10, QueueBytes: 32 << 10, QueueSize: 8})
	const count = 1000
	long := strings.Repeat("x", 1000)
	id := func(i int) string { return fmt.Sprintf("c.%04d", i) }
	register := func(i int) {
		def := bus.Definition{ID: id(i), Description: long, Durable: i%2 == 0}
		require.NoError(t, leaf.RegisterRaw(within(t), def, nothing))
	}
	for i := range count {
		register(i)
	}
	toLeaf, toRoot := pairing.InMemory("leaf", "root")
	down := attach(t, root, toLeaf)
	attach(t, leaf, toRoot)
	await(t, down.Ready())
	knows := func(from, to int) func() bool {
		return func() bool {
			seen := make(map[string]bool)
			for _, info := range root.Commands() {
				seen[info.ID] = info.Durable
			}
			for i := range 2 * count {
				durable, there := seen[id(i)]
				if there != (from <= i && i < to) || durable != (there && i%2 == 0) {
					return false
				}
			}
			return true
		}
	}
	require.Eventually(t, knows(0, count), patience, 10*time.Millisecond)
	for i := range count {
		leaf.Unregister(id(i))
		register(count + i)
	}
	require.Eventually(t, knows(count, 2*count), patience, 10*time.Millisecond)
	require.NotNil(t, root.Link("leaf"), "the link is unharmed")
}
