package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
)

// restlessSite is a root, two registries below it that are joined to each other as well, and leaves below those. The links
// break and come back, and so do the leaves.
type restlessSite struct {
	*soaking
	wire   wire
	root   *commands.Registry
	mids   [2]*commands.Registry
	leaves []*leaf
	joints []*joint
	tick   events.Event[int64]
	ticked atomic.Int64
}

// midCommand is the command of each registry in the middle, which never goes.
func midCommand(id string) commands.Command[int64, int64] {
	return commands.Define[int64, int64](id+".double", "Twice a number")
}

func newRestlessSite(s *soaking, w wire) *restlessSite {
	t := &restlessSite{soaking: s, wire: w, tick: events.Define[int64]("tick")}
	t.root = newRegistry(w.name+".root", "")
	for i := range t.mids {
		m := newRegistry(fmt.Sprintf("%s.mid%d", w.name, i), t.root.ID())
		must(commands.Register(context.Background(), m, midCommand(m.ID()), double))
		t.mids[i] = m
		t.joints = append(t.joints, newJoint(s, w, t.root, m))
	}
	t.joints = append(t.joints, newJoint(s, w, t.mids[0], t.mids[1]))
	for i := range 4 {
		t.leaves = append(t.leaves, &leaf{soaking: s, wire: w, under: t.mids[i%2], id: fmt.Sprintf("%s.leaf%d", w.name, i)})
	}
	t.start()
	return t
}

func (t *restlessSite) start() {
	stream := uint64(1000 + len(t.wire.name))
	for _, j := range t.joints {
		stream++
		t.every(time.Second, stream, j.flap)
	}
	for _, l := range t.leaves {
		stream++
		t.every(500*time.Millisecond, stream, l.churn)
	}
	everyone := []*commands.Registry{t.root, t.mids[0], t.mids[1]}
	for i, r := range everyone { // calls go wherever they can just now
		t.every(5*time.Millisecond, stream+10+uint64(i), func(rnd *rand.Rand) {
			c := midCommand(t.mids[rnd.IntN(2)].ID())
			if rnd.IntN(2) == 0 {
				c = t.leaves[rnd.IntN(len(t.leaves))].command()
			}
			t.call(context.Background(), r, c, rnd.Int64N(1<<40), unsteady...)
		})
		t.every(300*time.Millisecond, stream+20+uint64(i), func(rnd *rand.Rand) { t.listenIn(rnd, r) })
		t.every(700*time.Millisecond, stream+30+uint64(i), func(rnd *rand.Rand) { t.comeAndGo(rnd, r) })
	}
	t.every(time.Second, stream+40, func(rnd *rand.Rand) {
		t.burst(rnd, t.root, t.leaves[rnd.IntN(len(t.leaves))].command(), t.load*(1+rnd.IntN(200)), unsteady...)
	})
	t.every(200*time.Millisecond, stream+41, func(rnd *rand.Rand) {
		for range t.load * (1 + rnd.IntN(300)) {
			if err := events.Emit(context.Background(), t.root.Events(), t.tick, t.ticked.Add(1)); err != nil {
				t.violated("emit", "%s: %v", t.root.ID(), err)
			}
		}
	})
}

// unsteady is how a call may end where links and registries come and go.
var unsteady = []commands.Code{commands.NotFound, commands.ChannelDisconnected, commands.Timeout, commands.Internal}

// listenIn opens a listener for a while. It hears no event twice, and what it hears is in order, though two links bring it.
func (t *restlessSite) listenIn(rnd *rand.Rand, r *commands.Registry) {
	last := int64(0)
	l, err := events.Listen(r.Events(), t.tick, func(_ context.Context, n int64) {
		switch {
		case n == last:
			t.violated("heard twice", "tick at %s: %d", r.ID(), n)
		case n < last:
			t.violated("order", "tick at %s: %d behind %d", r.ID(), n, last)
		}
		last = max(last, n)
	}, events.ListenOptions{QueueSize: 1 + rnd.IntN(1000), Overflow: []events.Overflow{events.DropOldest, events.DropNewest}[rnd.IntN(2)]})
	if err != nil {
		t.violated("listen", "%s: %v", r.ID(), err)
		return
	}
	t.sleep(time.Duration(rnd.Int64N(int64(3 * time.Second))))
	l.Close()
	<-l.Done()
}

// comeAndGo registers a command for a while. The router may be away.
func (t *restlessSite) comeAndGo(rnd *rand.Rand, r *commands.Registry) {
	c := commands.Define[int64, int64](r.ID()+".guest", "Twice a number, for a while")
	ctx, cancel := context.WithTimeout(context.Background(), requestTTL)
	defer cancel()
	err := commands.Register(ctx, r, c, double)
	if err == nil {
		t.call(context.Background(), r, c, rnd.Int64N(1<<40), commands.Internal)
		r.Unregister(c.ID())
		return
	}
	if !errors.Is(err, commands.ErrTimeout) && !errors.Is(err, commands.ErrChannelDisconnected) && ctx.Err() == nil {
		t.violated("register", "%s: %v", c.ID(), err)
	}
}

// settle lets everything come back, and waits until all know all.
func (t *restlessSite) settle() {
	for _, j := range t.joints {
		j.mend()
	}
	for _, l := range t.leaves {
		l.arrive()
	}
	t.eventually(t.wire.name+".restless: all commands are known", t.unknown)
	rs := []*commands.Registry{t.root, t.mids[0], t.mids[1]}
	for _, l := range t.leaves {
		rs = append(rs, l.registry)
	}
	t.eventually(t.wire.name+".restless has nothing left to do", func() string { return busy(rs...) })
	for _, l := range t.leaves {
		t.call(context.Background(), t.root, l.command(), 21)
	}
}

// unknown says what the root, or a leaf's parent, does not know.
func (t *restlessSite) unknown() string {
	for i, m := range t.mids {
		if id := midCommand(m.ID()).ID(); !knows(t.root, id) {
			return t.root.ID() + " does not know " + id
		}
		for k := i; k < len(t.leaves); k += 2 {
			if id := t.leaves[k].command().ID(); !knows(m, id) {
				return m.ID() + " does not know " + id
			} else if !knows(t.root, id) {
				return t.root.ID() + " does not know " + id
			}
		}
	}
	return ""
}

func knows(r *commands.Registry, id string) bool {
	return slices.ContainsFunc(r.Commands(), func(i commands.Info) bool { return i.ID == id })
}

func (t *restlessSite) close() error {
	var err error
	for _, l := range t.leaves {
		err = errors.Join(err, l.leave())
	}
	return errors.Join(err, t.mids[0].Close(), t.mids[1].Close(), t.root.Close())
}

// joint is a link that breaks and comes back.
type joint struct {
	*soaking
	wire          wire
	parent, child *commands.Registry

	mu       sync.Mutex
	down, up *bus.Link // guarded by mu
}

func newJoint(s *soaking, w wire, parent, child *commands.Registry) *joint {
	j := &joint{soaking: s, wire: w, parent: parent, child: child}
	j.mend()
	return j
}

// flap breaks it, from either side, and mends it after a while.
func (j *joint) flap(r *rand.Rand) {
	j.mu.Lock()
	half := j.down
	if r.IntN(2) == 0 {
		half = j.up
	}
	_ = half.Close()
	j.mu.Unlock()
	j.flaps.Add(1)
	j.sleep(time.Duration(r.Int64N(int64(300 * time.Millisecond))))
	j.mend()
}

// mend attaches a fresh pair where the old one has ended.
func (j *joint) mend() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.down != nil {
		if j.down.Context().Err() == nil && j.up.Context().Err() == nil {
			return
		}
		_, _ = j.down.Close(), j.up.Close()
		<-j.down.Done()
		<-j.up.Done()
	}
	j.down, j.up = join(j.parent, j.child, j.wire)
}

// leaf is a registry that comes and goes. All of it is of one goroutine: the one that churns, then settle's.
type leaf struct {
	*soaking
	wire     wire
	under    *commands.Registry
	id       string
	registry *commands.Registry // nil while it is away
	down, up *bus.Link
}

func (l *leaf) command() commands.Command[int64, int64] {
	return commands.Define[int64, int64](l.id+".double", "Twice a number, while it is here")
}

// churn lets it arrive or leave.
func (l *leaf) churn(r *rand.Rand) {
	if l.registry == nil {
		l.arrive()
		return
	}
	if r.IntN(3) == 0 { // only its link goes
		_ = l.up.Close()
		l.part()
		l.down, l.up = join(l.under, l.registry, l.wire)
		l.flaps.Add(1)
		return
	}
	if err := l.leave(); err != nil {
		l.violated("close", "%s: %v", l.id, err)
	}
}

func (l *leaf) arrive() {
	if l.registry != nil {
		return
	}
	l.registry = newRegistry(l.id, l.under.ID())
	must(commands.Register(context.Background(), l.registry, l.command(), double)) // it has no router yet
	l.down, l.up = join(l.under, l.registry, l.wire)
	l.lives.Add(1)
}

// leave ends it: in good order, if calls leave it the time.
func (l *leaf) leave() error {
	if l.registry == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	err := l.registry.Shutdown(ctx)
	l.registry = nil
	l.part()
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// part waits for the end of both halves: the next life needs their place. In process the parent's ends by itself; between
// processes not if the leaf has left before they knew each other, since another one may come then.
func (l *leaf) part() {
	if !l.wire.tied {
		_ = l.down.Close()
	}
	for _, half := range []*bus.Link{l.up, l.down} {
		select {
		case <-half.Done():
		case <-time.After(patience):
			l.violated("links", "%s: the half with the ID %s does not end with the other", l.id, half.ID())
			_ = half.Close()
			<-half.Done()
		}
	}
}
