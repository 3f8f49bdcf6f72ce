package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"pgregory.net/rapid"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

// bubbled hides a *testing.T, the Deadline of which may not be asked in a bubble.
type bubbled struct{ testing.TB }

// treeWires are ways to join a parent and a child in a tree.
var treeWires = map[string]func(*forest, *treeNode) (down, up *bus.Channel){
	"gochannel": func(_ *forest, n *treeNode) (down, up *bus.Channel) {
		return pairing.InMemory(n.id(), n.parent.id())
	},
	"memory": func(_ *forest, n *treeNode) (down, up *bus.Channel) {
		return pairing.InMemory(n.id(), n.parent.id(), pairing.Options{PubSub: memory.New(memory.Options{HandOver: true, MaxUnacked: 256})})
	},
	"json": func(_ *forest, n *treeNode) (down, up *bus.Channel) {
		return pairing.InMemory(n.id(), n.parent.id(), pairing.Options{Codec: bus.JSON})
	},
	"slow": func(tr *forest, n *treeNode) (down, up *bus.Channel) {
		down, up = pairing.InMemory(n.id(), n.parent.id())
		for _, ch := range []*bus.Channel{down, up} {
			ch.Publisher, ch.InProcess = slowPublisher{ch.Publisher, &tr.delay}, false
		}
		return down, up
	},
	"join": func(tr *forest, n *treeNode) (down, up *bus.Channel) {
		pub := slowPublisher{tr.broker, &tr.delay}
		return pairing.Join(pub, tr.broker, n.parent.id(), n.id()), pairing.Join(pub, tr.broker, n.id(), n.parent.id())
	},
}

// slowPublisher takes its time with each message.
type slowPublisher struct {
	message.Publisher
	delay *atomic.Int64
}

func (p slowPublisher) Publish(topic string, ms ...*message.Message) error {
	time.Sleep(time.Duration(p.delay.Load()))
	return p.Publisher.Publish(topic, ms...)
}

// forest is a tree of registries, each of which escalates to its parent, and what each of them should serve.
type forest struct {
	wire   string
	broker *gochannel.GoChannel
	delay  atomic.Int64 // of each message on a slow wire
	nodes  []*treeNode
	calls  sync.WaitGroup
	space  func(n *treeNode, k int) string // the IDs that a registry registers

	mu      sync.Mutex
	serving map[string][]*treeNode // guarded by mu: the registries where Register has succeeded, by ID
	busy    map[string]bool        // guarded by mu: Register is under way
	faults  []string               // guarded by mu: what must not happen
}

type treeNode struct {
	*commands.Registry
	index    int
	parent   *treeNode
	down, up *bus.Link   // while the link to the parent lives
	mute     atomic.Bool // it hears no registrations
}

func (n *treeNode) id() string { return fmt.Sprint("r", n.index) }

// newTree takes the parent of each registry but the first.
func newTree(wire string, parents []int, cfg commands.Config) (*forest, error) {
	tr := &forest{wire: wire, serving: make(map[string][]*treeNode), busy: make(map[string]bool)}
	tr.broker = gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
	tr.space = func(n *treeNode, k int) string { return fmt.Sprintf("%s.c%d", n.id(), k) }
	for i := range len(parents) + 1 {
		n := &treeNode{index: i}
		c := cfg
		c.ID, c.Logger = n.id(), quiet
		c.Inbound = []message.HandlerMiddleware{n.deafness}
		if i > 0 {
			n.parent = tr.nodes[parents[i-1]]
			c.RouterChannel = n.parent.id()
		}
		r, err := commands.NewRegistry(c)
		if err != nil {
			return nil, err
		}
		n.Registry = r
		tr.nodes = append(tr.nodes, n)
	}
	return tr, nil
}

// deafness loses registrations while the registry is mute.
func (n *treeNode) deafness(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		if d, ok := bus.DeliveryFrom(m.Context()); ok && n.mute.Load() && d.Envelope.Type == bus.RegisterRequest {
			return nil, nil
		}
		return next(m)
	}
}

func (tr *forest) fault(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.faults = append(tr.faults, fmt.Sprintf(format, args...))
}

// connect joins a registry to its parent, unless it is.
func (tr *forest) connect(n *treeNode) {
	if n.parent == nil || n.up != nil && !ended(n.up) && !ended(n.down) {
		return
	}
	tr.sever(n, true)
	down, up := treeWires[tr.wire](tr, n)
	var err error
	if n.down, err = n.parent.RegisterChannel(context.Background(), down); err == nil {
		n.up, err = n.RegisterChannel(context.Background(), up)
	}
	if err != nil {
		tr.fault("connect %s: %v", n.id(), err)
	}
}

func ended(l *bus.Link) bool {
	select {
	case <-l.Done():
		return true
	default:
		return false
	}
}

// sever ends the link to the parent, from one side.
func (tr *forest) sever(n *treeNode, above bool) {
	if n.up == nil {
		return
	}
	first, second := n.up, n.down
	if above {
		first, second = second, first
	}
	_ = first.Close()
	_ = second.Close()
	<-first.Done() // Close does not wait while middleware runs
	<-second.Done()
	n.up, n.down = nil, nil
}

// register registers in the background. What it returns decides what is served. A limit of 0 is none.
func (tr *forest) register(n *treeNode, k int, limit time.Duration, conflicts bool) {
	id := tr.space(n, k)
	key := n.id() + "/" + id
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.busy[key] || slices.Contains(tr.serving[id], n) {
		return
	}
	tr.busy[key] = true
	tr.calls.Go(func() {
		ctx, cancel := context.Background(), context.CancelFunc(func() {})
		if limit > 0 {
			ctx, cancel = context.WithTimeout(ctx, limit)
		}
		defer cancel()
		err := n.RegisterRaw(ctx, bus.Definition{ID: id}, func(context.Context, json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(fmt.Sprintf("%q", n.id())), nil
		})
		tr.mu.Lock()
		defer tr.mu.Unlock()
		delete(tr.busy, key)
		switch {
		case err == nil:
			tr.serving[id] = append(tr.serving[id], n)
		case errors.Is(err, commands.ErrDuplicateCommand) && conflicts,
			errors.Is(err, commands.ErrTimeout), errors.Is(err, commands.ErrChannelDisconnected):
		default:
			tr.faults = append(tr.faults, fmt.Sprintf("%s registers %s: %v", n.id(), id, err))
		}
	})
}

func (tr *forest) unregister(n *treeNode, k int) {
	id := tr.space(n, k)
	tr.mu.Lock()
	at := slices.Index(tr.serving[id], n)
	if at >= 0 {
		tr.serving[id] = slices.Delete(tr.serving[id], at, at+1)
	}
	tr.mu.Unlock()
	if at >= 0 && !n.Unregister(id) {
		tr.fault("%s does not have %s, which it has registered", n.id(), id)
	}
}

// list makes a child say what it has, or the parent ask.
func (tr *forest) list(n *treeNode, asked bool) {
	if n.up == nil {
		return
	}
	if asked {
		_ = n.down.Send(bus.Envelope{ID: bus.NewID(), Type: bus.ListRequest})
		return
	}
	defs := []bus.Definition{}
	for _, c := range n.Commands() {
		if c.Channel == "" {
			defs = append(defs, bus.Definition{ID: c.ID})
		}
	}
	body, _ := json.Marshal(defs)
	_ = n.up.Send(bus.Envelope{Type: bus.ListResponse, Thread: bus.NewID(), Body: body})
}

// quieten ends all that disturbs, and waits for what is under way.
func (tr *forest) quieten() {
	tr.delay.Store(0)
	for _, n := range tr.nodes {
		n.mute.Store(false)
		tr.connect(n)
	}
	tr.calls.Wait()
	for _, n := range tr.nodes { // a link may have ended meanwhile, when its peer came back
		tr.connect(n)
	}
}

// within reports whether n is in the subtree of top.
func (n *treeNode) within(top *treeNode) bool {
	for ; n != nil; n = n.parent {
		if n == top {
			return true
		}
	}
	return false
}

// verify checks what every registry knows of what is served below it: all of it, and nothing else.
func (tr *forest) verify(conflicts bool) error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(tr.faults) > 0 {
		return fmt.Errorf("%d faults: %v", len(tr.faults), tr.faults)
	}
	for _, top := range tr.nodes {
		knows := make(map[string]string)
		for _, c := range top.Commands() {
			if c.Channel == "" || top.parent == nil || c.Channel != top.parent.id() {
				knows[c.ID] = c.Channel
			}
		}
		for id := range tr.serving {
			if err := tr.verifyID(top, id, knows); err != nil {
				return fmt.Errorf("%w; %s", err, tr.counters())
			}
			delete(knows, id)
		}
		if len(knows) > 0 {
			return fmt.Errorf("%s knows %v, which no registry serves; %s", top.id(), slices.Sorted(maps.Keys(knows)), tr.counters())
		}
		if s := top.Stats(); s.Unsynced != s.Conflicting || s.Reserved != 0 || s.Conflicting != 0 && !conflicts {
			return fmt.Errorf("%s: unsynced %d, reserved %d, conflicting %d", top.id(), s.Unsynced, s.Reserved, s.Conflicting)
		}
	}
	return nil
}

// verifyID checks what one registry knows of one ID. tr.mu is held.
func (tr *forest) verifyID(top *treeNode, id string, knows map[string]string) error {
	channel, known := knows[id]
	var below, there []string
	refused := 0
	for _, n := range tr.serving[id] {
		if !n.within(top) {
			continue
		}
		below = append(below, n.id())
		hop := n
		for hop != top && hop.parent != top {
			hop = hop.parent
		}
		if n == top && channel == "" || n != top && channel == hop.id() {
			there = append(there, n.id())
			continue
		}
		for at := n; at != top; at = at.parent {
			refused += at.Stats().Conflicting
		}
		if refused == 0 {
			return fmt.Errorf("%s does not know %s of %s (%v), and no conflict is counted", top.id(), id, n.id(), below)
		}
	}
	switch {
	case known && len(there) == 0:
		return fmt.Errorf("%s knows %s of %q, where no registry serves it (%v do)", top.id(), id, channel, below)
	case !known:
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	got, err := top.ExecuteRaw(ctx, id, nil)
	var by string
	if err != nil || json.Unmarshal(got, &by) != nil || !slices.Contains(there, by) {
		return fmt.Errorf("%s executes %s of %v: %s, %v", top.id(), id, there, got, err)
	}
	return nil
}

func (tr *forest) counters() (s string) {
	for _, n := range tr.nodes {
		st := n.Stats()
		s += fmt.Sprintf("[%s: unsynced %d conflicts %d reserved %d pending %d] ", n.id(), st.Unsynced, st.Conflicting, st.Reserved, st.Pending)
	}
	return s
}

func (tr *forest) close() error {
	var errs []error
	for _, n := range tr.nodes {
		errs = append(errs, n.Close())
	}
	tr.calls.Wait()
	return errors.Join(append(errs, tr.broker.Close())...)
}

// disturb does something at random.
func (tr *forest) disturb(t *rapid.T, conflicts bool) {
	n := rapid.SampledFrom(tr.nodes).Draw(t, "registry")
	switch rapid.SampledFrom([]string{"register", "register", "register", "unregister", "break", "break", "connect", "connect",
		"mute", "slow", "list", "call", "wait"}).Draw(t, "what") {
	case "register":
		limit := rapid.SampledFrom([]time.Duration{0, 0, 0, time.Millisecond, 20 * time.Millisecond}).Draw(t, "limit")
		tr.register(n, rapid.IntRange(0, 5).Draw(t, "command"), limit, conflicts)
	case "unregister":
		tr.unregister(n, rapid.IntRange(0, 5).Draw(t, "command"))
	case "break":
		tr.sever(n, rapid.Bool().Draw(t, "from above"))
	case "connect":
		tr.connect(n)
	case "mute":
		n.mute.Store(!n.mute.Load())
	case "slow":
		tr.delay.Store(int64(time.Duration(rapid.IntRange(0, 30).Draw(t, "delay")) * time.Millisecond))
	case "list":
		tr.list(n, rapid.Bool().Draw(t, "asked"))
	case "call":
		to, id := rapid.SampledFrom(tr.nodes).Draw(t, "of"), rapid.IntRange(0, 5).Draw(t, "command")
		tr.calls.Go(func() { // what is not there any more is evicted on the way; what is there again is not
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			_, _ = n.ExecuteRaw(ctx, tr.space(to, id), nil)
		})
	case "wait":
		time.Sleep(time.Duration(rapid.IntRange(0, 700).Draw(t, "ms")) * time.Millisecond)
	}
}

// drawTree makes a random tree of up to 12 registries on a random wire.
func drawTree(t *rapid.T, cfg commands.Config) *forest {
	wire := rapid.SampledFrom(slices.Sorted(maps.Keys(treeWires))).Draw(t, "wire")
	var parents []int
	for i := range rapid.IntRange(1, 11).Draw(t, "children") {
		parents = append(parents, rapid.IntRange(0, i).Draw(t, "parent"))
	}
	cfg.QueueSize = rapid.SampledFrom([]int{0, 0, 4, 64}).Draw(t, "queue")
	cfg.RequestTTL = rapid.SampledFrom([]time.Duration{300 * time.Millisecond, 0}).Draw(t, "ttl")
	tr, err := newTree(wire, parents, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// quietTime is how long links have to be up, and nothing lost, until everything is known everywhere.
const quietTime = time.Second

func TestRule22EveryCommandOfEveryLeafIsKnownAtEachAncestor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubbled{t}, func(t *rapid.T) {
			tr := drawTree(t, commands.Config{})
			defer func() {
				if err := tr.close(); err != nil {
					t.Errorf("close: %v", err)
				}
			}()
			for range rapid.IntRange(1, 60).Draw(t, "steps") {
				tr.disturb(t, false)
			}
			tr.quieten()
			time.Sleep(quietTime)
			synctest.Wait()
			if err := tr.verify(false); err != nil {
				t.Fatalf("%s after %s: %v", tr.wire, quietTime, err)
			}
		})
	})
}

// takeoverTime is how long it takes at most until the ID of a command that has gone is another's that was refused for it.
const takeoverTime = 5 * time.Second

func TestRule22OfThoseWithOneIDOneIsKnownAndTheOthersAreConflictsUntilItGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubbled{t}, func(t *rapid.T) {
			tr := drawTree(t, commands.Config{})
			tr.space = func(_ *treeNode, k int) string { return fmt.Sprint("c", k) }
			defer func() {
				if err := tr.close(); err != nil {
					t.Errorf("close: %v", err)
				}
			}()
			for range rapid.IntRange(1, 3).Draw(t, "rounds") {
				for range rapid.IntRange(1, 30).Draw(t, "steps") {
					tr.disturb(t, true)
				}
				tr.quieten()
				time.Sleep(takeoverTime)
				synctest.Wait()
				if err := tr.verify(true); err != nil {
					t.Fatalf("%s after %s: %v", tr.wire, takeoverTime, err)
				}
			}
		})
	})
}
