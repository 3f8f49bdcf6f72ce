package pairingtest

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/events"
)

// flow emits "e" at each of the nodes, at the pace of the broker, until it is stopped: that returns how many there were.
func (k *fleetKit) flow(nodes ...*node) (stop func() int) {
	var next atomic.Int64
	stopped := make(chan struct{})
	var flowing sync.WaitGroup
	for _, n := range nodes {
		flowing.Go(func() {
			for i := 1; ; i++ {
				select {
				case <-stopped:
					return
				default:
				}
				payload := strconv.FormatInt(next.Add(1)-1, 10)
				if err := n.Events().EmitRaw(k.ctx, "e", encoded(payload)); err != nil {
					k.t.Errorf("emit: %v", err)
				}
				if i%50 == 0 { // so that nothing is dropped
					_ = n.Events().Flush(k.ctx)
				}
			}
		})
	}
	return func() int {
		close(stopped)
		flowing.Wait()
		return int(next.Load())
	}
}

// departing ends the leavers one after the other while events come, requires that the group has handled each event once, and
// returns how many there were.
func (k *fleetKit) departing(emitters []*node, stays *node, leavers []*node, sum *tally, end func(*node) error) (count int) {
	k.t.Helper()
	stop := k.flow(emitters...)
	for _, n := range leavers {
		before := sum.len()
		k.eventually("events come", func() bool { return sum.len() > before+50 })
		require.NoError(k.t, end(n))
	}
	count = stop()
	k.still(append(registries(emitters...), stays.Registry)...)
	k.once(sum, count, 1, "the group")
	return count
}

// retirement has members of a group leave in good order, one after the other, while events come.
func retirement(k *fleetKit) {
	all := k.nodes(6)
	emitters, stays, leavers := all[:2], all[2], all[3:]
	sum, answers := newTally(), newTally()
	_, err := emitters[0].Events().ListenRaw("done", func(_ context.Context, _ string, payload json.RawMessage) { answers.add(payload) })
	require.NoError(k.t, err)
	for _, n := range all[2:] {
		_, err := n.Events().ListenRaw("e", func(ctx context.Context, _ string, payload json.RawMessage) {
			sum.add(payload)
			if err := n.Events().EmitRaw(ctx, "done", payload); err != nil {
				k.t.Errorf("emit at %s: %v", n.ID(), err)
			}
		}, events.ListenOptions{Group: "g"})
		require.NoError(k.t, err)
	}
	for _, n := range emitters {
		k.groupAt(n, "g", all[2:]...)
	}
	count := k.departing(emitters, stays, leavers, sum, func(n *node) error { return n.Shutdown(k.ctx) })
	k.once(answers, count, 1, "what the listeners have emitted")
}

// leaving is retirement with Leave, which does not wait for listeners.
func leaving(k *fleetKit) {
	all := k.nodes(5)
	emitters, stays, leavers := all[:2], all[2], all[3:]
	sum := newTally()
	for _, n := range all[2:] {
		k.shared(n.Registry, "g", "e", sum)
	}
	for _, n := range emitters {
		k.groupAt(n, "g", all[2:]...)
	}
	k.departing(emitters, stays, leavers, sum, func(n *node) error { return errors.Join(n.fleet.Leave(k.ctx), n.Shutdown(k.ctx)) })
}
