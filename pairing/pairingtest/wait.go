package pairingtest

import (
	"bytes"
	"context"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// recv returns what comes on ch, and fails the test if nothing does.
func recv[T any](k *kit, ch <-chan T, what string) T {
	k.t.Helper()
	select {
	case v := <-ch:
		return v
	case <-k.ctx.Done():
		k.t.Fatalf("nothing came: %s", what)
		panic("unreachable")
	}
}

// awaits returns when ch is closed.
func (k *kit) awaits(ch <-chan struct{}, what string) {
	k.t.Helper()
	recv(k, ch, what)
}

// ready returns when the links have done their handshakes.
func (k *kit) ready(links ...*bus.Link) {
	k.t.Helper()
	for _, l := range links {
		select {
		case <-l.Ready():
		case <-l.Done():
			k.t.Fatalf("link to %q ended before it was ready: %v", l.ID(), l.Err())
		case <-k.ctx.Done():
			k.t.Fatalf("link to %q is not ready", l.ID())
		}
	}
}

// flush returns when everything that r has sent is accepted by its peers.
func (k *kit) flush(r *commands.Registry) {
	k.t.Helper()
	require.NoError(k.t, r.Events().Flush(k.ctx))
}

// eventually polls: for what no signal tells of, such as another registry's
// routing table.
func (k *kit) eventually(what string, cond func() bool) {
	k.t.Helper()
	if !k.poll(cond, patience) {
		k.t.Fatalf("did not come about: %s", what)
	}
}

// poll reports whether cond came true in that time.
func (k *kit) poll(cond func() bool, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(k.ctx, k.slow(limit))
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return cond()
		}
	}
	return true
}

// knows waits until r can execute the command by its own table.
func (k *kit) knows(r *commands.Registry, id string) {
	k.t.Helper()
	k.eventually(r.ID()+" knows "+id, func() bool { return has(r, id) })
}

// forgets waits until r cannot any more.
func (k *kit) forgets(r *commands.Registry, id string) {
	k.t.Helper()
	k.eventually(r.ID()+" forgets "+id, func() bool { return !has(r, id) })
}

func has(r *commands.Registry, id string) bool {
	_, ok := find(r, id)
	return ok
}

func find(r *commands.Registry, id string) (commands.Info, bool) {
	for _, info := range r.Commands() {
		if info.ID == id {
			return info, true
		}
	}
	return commands.Info{}, false
}

// settled waits until nothing is in flight, and fails if a counter is off. A
// request that its caller has given up may still be on its way, so a look
// that found nothing is not repeated.
func (k *kit) settled(rs ...*commands.Registry) {
	k.t.Helper()
	for _, r := range rs {
		var s commands.Stats
		k.poll(func() bool {
			s = r.Stats()
			return s.Pending == 0 && s.Serving == 0 && s.Waiting == 0 && s.Reserved == 0
		}, settleTime)
		require.Zerof(k.t, s.Pending, "%s: pending calls and routes", r.ID())
		require.Zerof(k.t, s.Serving, "%s: requests being served", r.ID())
		require.Zerof(k.t, s.Waiting, "%s: requests in the backlog", r.ID())
		require.Zerof(k.t, s.Reserved, "%s: registrations that wait", r.ID())
	}
}

// goroutineLabel marks the goroutines that a subtest starts, directly or not.
const goroutineLabel = "pairingtest"

func label(name string) context.Context {
	return pprof.WithLabels(context.Background(), pprof.Labels(goroutineLabel, name))
}

// leftovers returns the stacks of goroutines of leat's that the named subtest
// started.
func leftovers(name string) []string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return []string{err.Error()}
	}
	var left []string
	for stack := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(stack, `"`+goroutineLabel+`":"`+name+`"`) && ours(stack) {
			left = append(left, stack)
		}
	}
	return left
}

// ours reports whether leat, and not the kit, started the goroutine: its
// outermost frame says so.
func ours(stack string) bool {
	const module = "github.com/leatbus/leat/"
	outermost := strings.LastIndex(stack, module)
	return outermost >= 0 && !strings.HasPrefix(stack[outermost+len(module):], "pairing/pairingtest.")
}
