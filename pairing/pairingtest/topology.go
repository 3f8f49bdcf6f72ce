package pairingtest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// settleTime is how long counters may take to fall to zero after the last
// caller has its answer.
const settleTime = 5 * time.Second

// kit is what one subtest works with.
type kit struct {
	t       *testing.T
	factory Factory
	Features
	ctx context.Context // ends when the subtest has taken too long
}

func newKit(t *testing.T, f Factory, features Features) *kit {
	k := &kit{t: t, factory: f, Features: features}
	pprof.SetGoroutineLabels(label(t.Name()))
	ctx, cancel := context.WithTimeout(context.Background(), 2*k.slow(patience))
	k.ctx = ctx
	t.Cleanup(func() { // runs last: everything is closed
		if !t.Failed() && !k.poll(func() bool { return len(leftovers(t.Name())) == 0 }, settleTime) {
			t.Errorf("goroutines are left:\n%s", strings.Join(leftovers(t.Name()), "\n\n"))
		}
		cancel()
	})
	return k
}

func (k *kit) slow(d time.Duration) time.Duration { return time.Duration(k.Slowness) * d }

// brief is the time of timeouts that have to happen.
func (k *kit) brief() time.Duration { return k.slow(brief) }

// longer tries with a time that is brief at first and doubles, until one was enough for what has to happen within it: a
// busy machine may take longer than any time that is brief. A try reports whether its time was enough.
func (k *kit) longer(what string, try func(d time.Duration) (enough bool)) {
	k.t.Helper()
	for d := k.brief(); !try(d); d *= 2 {
		require.NoErrorf(k.t, k.ctx.Err(), "no time was enough: %s", what)
	}
}

// volume is n, or less if the transport is to get fewer.
func (k *kit) volume(n int) int { return max(1, n/k.Features.Fewer) }

// registry makes a registry that is closed with the test. Options change its
// configuration. Events live long, so that none expires on a busy machine.
func (k *kit) registry(id string, options ...func(*commands.Config)) *commands.Registry {
	k.t.Helper()
	cfg := commands.Config{ID: id, EventTTL: k.slow(time.Minute), Logger: slog.New(slog.DiscardHandler)}
	for _, o := range options {
		o(&cfg)
	}
	r, err := commands.NewRegistry(cfg)
	require.NoError(k.t, err)
	k.t.Cleanup(func() { _ = r.Close() })
	return r
}

func under(router string) func(*commands.Config) {
	return func(c *commands.Config) { c.RouterChannel = router }
}

func requestTTL(d time.Duration) func(*commands.Config) {
	return func(c *commands.Config) { c.RequestTTL = d }
}

func inFlight(n int) func(*commands.Config) {
	return func(c *commands.Config) { c.MaxInFlight = n }
}

func handling(mws ...message.HandlerMiddleware) func(*commands.Config) {
	return func(c *commands.Config) { c.Middleware = mws }
}

// pair makes a pair for two names. Where the transport would lose what comes
// early, chB is subscribed to already.
func (k *kit) pair(a, b string) (chA, chB *bus.Channel) {
	k.t.Helper()
	chA, chB = k.factory(k.t, a, b)
	require.Equal(k.t, a, chA.ID)
	require.Equal(k.t, b, chB.ID)
	if !k.HoldsBeforeAttach {
		k.subscribeEarly(chB)
	}
	return chA, chB
}

// attach registers a channel.
func (k *kit) attach(r *commands.Registry, ch *bus.Channel) *bus.Link {
	k.t.Helper()
	l, err := r.RegisterChannel(k.ctx, ch)
	require.NoError(k.t, err)
	return l
}

// connect joins two registries, a first, and returns the links when both are
// ready: ab is a's to b.
func (k *kit) connect(a, b *commands.Registry) (ab, ba *bus.Link) {
	k.t.Helper()
	chB, chA := k.pair(b.ID(), a.ID())
	ab, ba = k.attach(a, chB), k.attach(b, chA)
	k.ready(ab, ba)
	return ab, ba
}

// couple is a root and a worker that escalates to it.
func (k *kit) couple(options ...func(*commands.Config)) (root, worker *commands.Registry) {
	k.t.Helper()
	root = k.registry("root", options...)
	worker = k.registry("worker", append(options, under("root"))...)
	k.connect(root, worker)
	return root, worker
}

// chain is registries in a row; each escalates to the one before it.
func (k *kit) chain(n int, options ...func(*commands.Config)) []*commands.Registry {
	k.t.Helper()
	rs := []*commands.Registry{k.registry("r0", options...)}
	for i := 1; i < n; i++ {
		up := rs[i-1]
		rs = append(rs, k.registry(fmt.Sprintf("r%d", i), append(options, under(up.ID()))...))
		k.connect(up, rs[i])
	}
	return rs
}

// mesh is n registries, each connected to each.
func (k *kit) mesh(n int) []*commands.Registry {
	k.t.Helper()
	var rs []*commands.Registry
	for i := range n {
		rs = append(rs, k.registry(fmt.Sprintf("m%d", i)))
		for _, other := range rs[:i] {
			k.connect(other, rs[i])
		}
	}
	return rs
}

// diamond is four registries in a ring: top and bottom are connected through
// left and through right.
func (k *kit) diamond() (top, left, right, bottom *commands.Registry) {
	k.t.Helper()
	top, left, right, bottom = k.registry("top"), k.registry("left"), k.registry("right"), k.registry("bottom")
	k.connect(top, left)
	k.connect(top, right)
	k.connect(left, bottom)
	k.connect(right, bottom)
	return top, left, right, bottom
}

// cycle is registries in a ring; each escalates to the next. Two have one pair.
func (k *kit) cycle(n int) []*commands.Registry {
	k.t.Helper()
	var rs []*commands.Registry
	for i := range n {
		rs = append(rs, k.registry(fmt.Sprintf("c%d", i), under(fmt.Sprintf("c%d", (i+1)%n))))
	}
	for i := range n {
		if n > 2 || i == 0 {
			k.connect(rs[(i+1)%n], rs[i])
		}
	}
	return rs
}

// raw registers a command on encoded values.
func (k *kit) raw(r *commands.Registry, id string, h commands.RawHandler) {
	k.t.Helper()
	require.NoError(k.t, r.RegisterRaw(k.ctx, bus.Definition{ID: id}, h))
}

// echo registers a command that returns its request.
func (k *kit) echo(r *commands.Registry, id string) {
	k.t.Helper()
	k.raw(r, id, func(_ context.Context, req json.RawMessage) (json.RawMessage, error) { return req, nil })
}

// says registers a command that returns a constant.
func (k *kit) says(r *commands.Registry, id, result string) {
	k.t.Helper()
	k.raw(r, id, func(context.Context, json.RawMessage) (json.RawMessage, error) { return json.RawMessage(result), nil })
}
