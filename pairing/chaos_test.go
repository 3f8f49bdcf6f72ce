package pairing_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/chaostest"
)

// chaotic is two registries, joined over bus/memory with chaos in between. One
// serves twice, and counts the runs; the other calls it.
type chaotic struct {
	net            *chaostest.PubSub
	caller, server *commands.Registry
	requests       string // their topic
	ran            *tally
}

var twice = commands.Define[int, int]("twice", "Doubles a number")

// newChaotic is called in a bubble of testing/synctest. The server is the
// registry with that name: "root", or "worker", which registers with its router. Close it.
func newChaotic(t *testing.T, server string, o chaostest.Options) *chaotic {
	t.Helper()
	net := chaostest.Wrap(memory.New(memory.Options{}), o)
	root, worker := registry(t, "root", ""), registry(t, "worker", "root")
	lasting := pairing.JoinOptions{Heartbeat: -1} // what the line loses is not taken for a peer that has gone
	_, err := root.RegisterChannel(t.Context(), pairing.Join(net, net, "root", "worker", lasting))
	require.NoError(t, err)
	toRoot, err := worker.RegisterChannel(t.Context(), pairing.Join(net, net, "worker", "root", lasting))
	require.NoError(t, err)
	<-toRoot.Ready()
	c := &chaotic{net: net, caller: worker, server: root, requests: "leat.worker.root", ran: newTally()}
	if server == "worker" {
		c.caller, c.server, c.requests = root, worker, "leat.root.worker"
	}
	require.NoError(t, commands.Register(t.Context(), c.server, twice, func(_ context.Context, n int) (int, error) {
		c.ran.add(n)
		return 2 * n, nil
	}))
	return c
}

func (c *chaotic) close(t *testing.T) {
	t.Helper()
	require.NoError(t, c.caller.Close())
	require.NoError(t, c.server.Close())
	require.NoError(t, c.net.Close())
}

// callAll makes n calls from 16 goroutines, and returns their errors by request.
func (c *chaotic) callAll(n int) []error {
	errs := make([]error, n)
	var callers sync.WaitGroup
	for first := range 16 {
		callers.Go(func() {
			for i := first; i < n; i += 16 {
				got, err := commands.Execute(context.Background(), c.caller, twice, i)
				if err == nil && got != 2*i {
					err = fmt.Errorf("twice %d is %d", i, got)
				}
				errs[i] = err
			}
		})
	}
	callers.Wait()
	return errs
}

// tally counts how often each number came.
type tally struct {
	mu    sync.Mutex
	times map[int]int // guarded by mu
}

func newTally() *tally { return &tally{times: make(map[int]int)} }

func (c *tally) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.times[n]++
}

// outside returns the numbers below n that did not come between least and most times.
func (c *tally) outside(n, least, most int) (wrong map[int]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wrong = make(map[int]int)
	for i := range n {
		if times := c.times[i]; times < least || times > most {
			wrong[i] = times
		}
	}
	return wrong
}

// emitAll emits n events, in turn at either side.
func (c *chaotic) emitAll(n int) (err error) {
	for i := range n {
		from := c.caller
		if i%2 == 1 {
			from = c.server
		}
		err = errors.Join(err, events.Emit(context.Background(), from.Events(), number, i))
	}
	return err
}

var number = events.Define[int]("number")

// TestJoinThroughDuplicatesAndReordering: the transport repeats, delays and
// mixes up; each request runs once and each event arrives once all the same.
func TestJoinThroughDuplicatesAndReordering(t *testing.T) {
	t.Parallel()
	const n = 2_000
	for seed, server := range []string{"root", "root", "worker", "worker"} {
		t.Run(fmt.Sprintf("%s seed %d", server, seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newChaotic(t, server, chaostest.Options{
					Seed: uint64(seed), Duplicate: 0.3, MaxCopies: 3, Reorder: 0.3, Delay: 0.05,
				})
				defer c.close(t)
				heard := newTally()
				for _, r := range []*commands.Registry{c.caller, c.server} {
					_, err := events.Listen(r.Events(), number, func(_ context.Context, i int) { heard.add(i) })
					require.NoError(t, err)
				}
				emitted := make(chan error, 1)
				go func() { emitted <- c.emitAll(n) }()
				require.NoError(t, errors.Join(c.callAll(n)...))
				require.NoError(t, <-emitted)
				time.Sleep(time.Second) // of the bubble's clock: the last copy has come
				require.Empty(t, c.ran.outside(n, 1, 1), "runs of requests")
				require.Empty(t, heard.outside(n, 2, 2), "events, at two listeners")
				s := c.net.Stats()
				require.Greater(t, s.Copied, uint64(n))
				require.Greater(t, s.Reordered, uint64(n))
			})
		})
	}
}

// TestJoinThroughLosses: a call whose request or reply is lost ends with a
// timeout. None hangs, none runs twice, the others are right.
func TestJoinThroughLosses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 1_000
		c := newChaotic(t, "root", chaostest.Options{Seed: 1, Drop: 0.1, Duplicate: 0.2, Reorder: 0.2})
		defer c.close(t)
		lost := 0
		for i, err := range c.callAll(n) {
			if err != nil {
				require.ErrorIs(t, err, commands.ErrTimeout, "call %d", i)
				lost++
			}
		}
		require.InDelta(t, n/5, lost, n/20)
		require.Empty(t, c.ran.outside(n, 0, 1))
	})
}

// TestJoinCutAndHealed: calls time out while one direction is cut, and work
// again afterwards over the same link.
func TestJoinCutAndHealed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newChaotic(t, "worker", chaostest.Options{})
		defer c.close(t)
		c.net.Cut(func(topic string) bool { return topic == c.requests })
		_, err := commands.Execute(t.Context(), c.caller, twice, 0)
		require.ErrorIs(t, err, commands.ErrTimeout)
		c.net.Heal()
		got, err := commands.Execute(t.Context(), c.caller, twice, 1)
		require.NoError(t, err)
		require.Equal(t, 2, got)
		require.Equal(t, map[int]int{0: 0}, c.ran.outside(2, 1, 1), "what was lost does not run later")
	})
}
