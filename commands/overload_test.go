package commands_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// joinOver is join for one of the wires.
func joinOver(t testing.TB, wire func(t testing.TB, a, b string) (chA, chB *bus.Channel), parent, child *commands.Registry) (down, up *bus.Link) {
	t.Helper()
	toChild, toParent := wire(t, child.ID(), parent.ID())
	down, up = attach(t, parent, toChild), attach(t, child, toParent)
	await(t, down.Ready())
	await(t, up.Ready())
	settle(t, parent, child)
	return down, up
}

// burst makes n calls, all handlers of which run before the first returns, and requires that all succeed.
func burst(t *testing.T, caller, server *commands.Registry, n int) {
	var running sync.WaitGroup
	running.Add(n)
	all := make(chan struct{})
	go func() { running.Wait(); close(all) }()
	handleFunc(t, server, "together", func(ctx context.Context, req json.RawMessage) (json.RawMessage, error) {
		running.Done()
		select {
		case <-all:
			return req, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	settle(t, caller, server)
	call(t, caller, "together", n)
}

// call makes n calls at once, and requires that each gets its own reply.
func call(t *testing.T, caller *commands.Registry, id string, n int) {
	t.Helper()
	var calls sync.WaitGroup
	var failed atomic.Int64
	var first sync.Once
	for i := range n {
		calls.Go(func() {
			req := json.RawMessage(fmt.Sprint(i))
			if res, err := caller.ExecuteRaw(context.Background(), id, req); err != nil || string(res) != string(req) {
				failed.Add(1)
				first.Do(func() { t.Logf("the first that fails: %s, %v", res, err) })
			}
		})
	}
	calls.Wait()
	require.Zero(t, failed.Load(), "of %d calls", n)
}

func TestRule23ABurstOfRepliesLosesNoCallAndNoLink(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		for _, n := range []int{250, 5000} {
			t.Run(fmt.Sprint(w.name, "/", n), func(t *testing.T) {
				t.Parallel()
				root := newRegistry(t, commands.Config{ID: "root", QueueSize: 64})
				worker := newRegistry(t, commands.Config{ID: "worker", QueueSize: 64, MaxInFlight: n})
				down, up := joinOver(t, w.make, root, worker)
				burst(t, root, worker, n)
				require.NoError(t, down.Err())
				require.NoError(t, up.Err())
				require.Zero(t, up.Stats().NoRoom)
			})
		}
	}
}

func TestRule23ThirtyThousandCallsThroughARelay(t *testing.T) {
	const n = 30_000
	relay := newRegistry(t, commands.Config{ID: "relay", MaxBacklog: n})
	caller := newRegistry(t, commands.Config{ID: "caller", RouterChannel: "relay"})
	server := newRegistry(t, commands.Config{ID: "server", RouterChannel: "relay", MaxBacklog: n})
	joinOver(t, wires[2].make, relay, caller)
	joinOver(t, wires[2].make, relay, server)
	handleFunc(t, server, "echo", func(_ context.Context, req json.RawMessage) (json.RawMessage, error) { return req, nil })
	call(t, caller, "echo", n)
}

// valve is a publisher that takes nothing while it is shut.
type valve struct {
	message.Publisher
	mu   sync.RWMutex // held while it is shut
	held atomic.Int32 // Publish calls that wait
}

func (v *valve) Publish(topic string, ms ...*message.Message) error {
	v.held.Add(1)
	defer v.held.Add(-1)
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.Publisher.Publish(topic, ms...)
}

func TestRule23APeerThatIsSlowForAWhileLosesNoReply(t *testing.T) {
	t.Parallel()
	const n = 500
	r := newRegistry(t, commands.Config{QueueSize: 4, StallTimeout: time.Minute, MaxInFlight: n})
	handle(t, r, "x", "1")
	s := &stranger{t: t, sent: make(chan bus.Envelope, 4096), in: make(chan *message.Message), end: make(chan struct{})}
	v := &valve{Publisher: s}
	s.Link = attach(t, r, &bus.Channel{ID: "peer", Publisher: v, Out: "o", Subscriber: s, In: "i"})
	s.wants(bus.ListRequest)
	v.mu.Lock()
	for i := range n {
		s.say(bus.Envelope{ID: fmt.Sprint(i), Type: bus.ExecuteRequest, Name: "x"})
	}
	require.Eventually(t, func() bool { return s.Link.Stats().Queued == 4 && r.Stats().Serving == 0 }, patience, time.Millisecond)
	v.mu.Unlock()
	replied := make(map[string]bool)
	for range n {
		replied[s.wants(bus.ExecuteResponse).Thread] = true
	}
	assert.Len(t, replied, n, "each once")
	assert.Zero(t, s.Link.Stats().NoRoom)
	assert.NoError(t, s.Link.Err())
}

// A caller that leaves while it waits for room has sent nothing: there is nothing to cancel, and no queue of cancels.
func TestRule23CallersThatLeaveTheLineSendNothing(t *testing.T) {
	t.Parallel()
	const n = 200
	r := newRegistry(t, commands.Config{QueueSize: 4, RouterChannel: "peer", StallTimeout: time.Hour})
	p, v := shut(t, r, everything)
	v.mu.Lock()
	open := sync.OnceFunc(v.mu.Unlock)
	defer open()
	ctx, cancel := context.WithCancel(within(t))
	var calls sync.WaitGroup
	for range n {
		calls.Go(func() {
			_, err := r.ExecuteRaw(ctx, "x", nil)
			assert.ErrorIs(t, err, context.Canceled)
		})
	}
	require.Eventually(t, func() bool { return r.Stats().Pending == n && p.Link.Stats().Queued == 4 }, patience, time.Millisecond)
	cancel()
	calls.Wait()
	assert.LessOrEqual(t, p.Link.Stats().Queued, 8, "four requests and their cancels")
	assert.Zero(t, r.Stats().Pending)
	open()
	for cancelled := 0; cancelled < 4; {
		if p.next().Type == bus.Cancel {
			cancelled++
		}
	}
}
