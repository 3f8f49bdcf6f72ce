//go:build !race

package commands_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
)

// The race detector makes pools forget at random, so that there is nothing to count under it. Allocations of all
// goroutines count: no test here is parallel.

func TestAllocationsOfCalls(t *testing.T) {
	ctx := context.Background()
	root, worker := family(t)
	join(t, root, worker, memoryPair())
	require.NoError(t, commands.Register(ctx, worker, addCommand, addHandler))
	require.NoError(t, commands.Register(ctx, worker, addBytes, func(_ context.Context, s jsonSum) (jsonInt, error) { return jsonInt{N: s.A + s.B}, nil }))
	plain := func(r *commands.Registry) func() {
		return func() {
			if n, err := commands.Execute(ctx, r, addCommand, sum{7, 11}); n != 18 || err != nil {
				t.Error(n, err)
			}
		}
	}
	json := func() {
		if n, err := commands.Execute(ctx, root, addBytes, jsonSum{A: 7, B: 11}); n.N != 18 || err != nil {
			t.Error(n, err)
		}
	}
	assert.LessOrEqual(t, testing.AllocsPerRun(1000, plain(worker)), 1.0, "a local call")
	assert.LessOrEqual(t, testing.AllocsPerRun(1000, plain(root)), 6.0, "a call across a pair")
	assert.LessOrEqual(t, testing.AllocsPerRun(1000, json), 25.0, "with types that are encoded")
}

func TestAllocationsOfEvents(t *testing.T) {
	ctx := context.Background()
	root, worker := family(t)
	join(t, root, worker, memoryPair())
	tick := events.Define[sum]("tick")
	seen := 0
	_, err := events.Listen(worker.Events(), tick, func(context.Context, sum) { seen++ })
	require.NoError(t, err)
	const batch = 1000
	perBatch := testing.AllocsPerRun(10, func() {
		for range batch {
			if err := events.Emit(ctx, root.Events(), tick, sum{7, 11}); err != nil {
				t.Error(err)
			}
		}
		for _, r := range []*commands.Registry{root, worker} {
			if err := r.Events().Flush(ctx); err != nil {
				t.Error(err)
			}
		}
	})
	assert.LessOrEqual(t, perBatch/batch, 8.0)
	assert.Equal(t, 11*batch, seen)
}
