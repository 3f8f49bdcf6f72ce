package events_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
)

var meshRuns = flag.Int("mesh.runs", 60, "random meshes that TestRule15Meshes tries")
var meshSeed = flag.Uint64("mesh.seed", 0, "the only mesh that it tries, if not 0")

// In any mesh, whatever its delays, bounds and attachments, each listener hears each event at most once and those of
// one emitter in the order of emission; and what it does not hear of the events that had a way to it is counted.
func TestRule15Meshes(t *testing.T) {
	t.Parallel()
	if *meshSeed != 0 {
		runMesh(t, *meshSeed)
		return
	}
	first := rand.Uint64() >> 1
	for i := range uint64(*meshRuns) {
		if seed := first + i; !t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { runMesh(t, seed) }) {
			return
		}
	}
}

// Over transports that keep no order all events are heard all the same, once, in any mesh, if nothing is dropped.
func TestRule14MeshesWithoutOrderLoseNothing(t *testing.T) {
	t.Parallel()
	first := rand.Uint64() >> 1
	for i := range uint64(*meshRuns) {
		seed := first + i
		if *meshSeed != 0 {
			seed = *meshSeed
		}
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { runUnordered(t, seed) })
	}
}

func runUnordered(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		s := &meshSim{t: t, dice: roll(seed)}
		n, ttl := s.pick(2, 3, 4, 5), time.Minute
		if n == 2 { // nobody relays
			ttl = s.ms(1, 20, 60_000)
		}
		for i := range n {
			s.nodes = append(s.nodes, s.nodeWith(bus.Options{ID: fmt.Sprint("n", i), EventTTL: ttl}))
		}
		defer s.close()
		for _, e := range s.topology(n) {
			d := wire{dice: roll(s.Uint64()), kind: s.pick(1, 2, 3), even: true}
			s.attach(e, d, 0)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		var work sync.WaitGroup
		for i, nd := range s.nodes {
			work.Go(s.emitter(i, nd))
		}
		work.Wait()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		for i, nd := range s.nodes {
			seen := make(map[[2]int]bool)
			for _, e := range nd.heard {
				require.False(t, seen[e], "node %d hears number %d of %d twice", i, e[1], e[0])
				seen[e] = true
			}
			require.Len(t, seen, int(s.emitted.Load()), "node %d: %+v", i, nd.hub.Stats())
		}
	})
}

// node is one registry's side of events, without the registry.
type node struct {
	hub   *events.Hub
	bus   *bus.Bus
	heard [][2]int // emitter, number
	mu    sync.Mutex
}

type meshSim struct {
	dice
	t       *testing.T
	nodes   []*node
	steady  bool          // nothing of the tree breaks: what is lost has to be counted
	ordered bool          // all of the transports keep order
	emitted atomic.Uint64 // public events

	mu    sync.Mutex
	links [][2]*bus.Link // all that there ever were, by pairs
}

func runMesh(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		s := &meshSim{t: t, dice: roll(seed), ordered: true}
		s.steady = s.pick(1, 0) == 1
		n := s.pick(2, 3, 3, 4, 5, 8)
		for i := range n {
			s.nodes = append(s.nodes, s.node(i))
		}
		defer s.close()
		var work sync.WaitGroup
		for _, e := range s.topology(n) {
			s.edge(e, &work)
		}
		synctest.Wait()
		for i, nd := range s.nodes {
			work.Go(s.emitter(i, nd))
		}
		work.Wait()
		time.Sleep(2 * time.Minute) // all that is on its way arrives
		synctest.Wait()
		s.check()
	})
}

func (s *meshSim) close() {
	for _, nd := range s.nodes {
		_ = nd.bus.Close() // a slow line may not end in time
		nd.hub.Close()
	}
	time.Sleep(time.Minute)
}

// dice are for one goroutine.
type dice struct{ *rand.Rand }

func roll(seed uint64) dice { return dice{rand.New(rand.NewPCG(seed, 1))} }

// pick returns one of the numbers.
func (d dice) pick(of ...int) int { return of[d.IntN(len(of))] }

func (d dice) ms(of ...int) time.Duration { return time.Duration(d.pick(of...)) * time.Millisecond }

func (s *meshSim) node(i int) *node {
	return s.nodeWith(bus.Options{ID: fmt.Sprint("n", i), EventTTL: s.ms(20, 300, 5000), QueueSize: s.pick(4, 16, 100, 8192),
		DedupeKeys: s.pick(8, 300, 1<<18)})
}

func (s *meshSim) nodeWith(o bus.Options) *node {
	nd := &node{}
	nd.hub, nd.bus = newHubIn(s.t, o)
	_, err := nd.hub.ListenRaw("from.*", func(_ context.Context, id string, p json.RawMessage) {
		from, _ := strconv.Atoi(strings.TrimPrefix(id, "from."))
		k, _ := strconv.Atoi(string(p))
		nd.mu.Lock()
		defer nd.mu.Unlock()
		nd.heard = append(nd.heard, [2]int{from, k})
	}, events.ListenOptions{QueueSize: 1 << 16})
	require.NoError(s.t, err)
	return nd
}

func newHubIn(t *testing.T, o bus.Options) (*events.Hub, *bus.Bus) {
	o.Logger = slog.New(slog.DiscardHandler)
	b := bus.New(o)
	return events.NewHub(b), b
}

// edge of a mesh: those of its tree are there all the time.
type edge struct {
	a, b int
	tree bool
}

func (s *meshSim) topology(n int) (all []edge) {
	for i := 1; i < n; i++ {
		all = append(all, edge{i, s.IntN(i), true})
	}
	share := s.pick(0, 1, 2, 2) // none, some or all of the others
	for i := range n {
		for j := range i {
			known := false
			for _, e := range all {
				known = known || e.a == i && e.b == j
			}
			if !known && (share == 2 || share == 1 && s.IntN(3) == 0) {
				all = append(all, edge{i, j, false})
			}
		}
	}
	return all
}

// edge attaches two nodes, now or later, and may break their link and attach them anew.
func (s *meshSim) edge(e edge, work *sync.WaitGroup) {
	d := wire{dice: roll(s.Uint64()), kind: s.pick(0, 1, 2, 3, 4), ordered: true}
	if d.kind == 4 {
		d.ordered = d.pick(0, 1, 1) == 1
		s.ordered = s.ordered && d.ordered
	}
	if e.tree {
		s.attach(e, d, 0)
	}
	flaps := 0
	if !e.tree || !s.steady {
		flaps = d.pick(0, 0, 1, 3)
	}
	work.Go(func() {
		if !e.tree {
			time.Sleep(d.ms(0, 0, 10, 1000, 7000))
			s.attach(e, d, d.ms(0, 0, 50, 6000, 8000))
		}
		for range flaps {
			time.Sleep(d.ms(1, 200, 3000))
			s.part(e)
			time.Sleep(d.ms(0, 100, 6000))
			s.attach(e, d, d.ms(0, 5, 100, 3000))
		}
	})
}

// attach joins the nodes of an edge; the second half comes later.
func (s *meshSim) attach(e edge, d wire, half time.Duration) {
	a, b := s.nodes[e.a].bus, s.nodes[e.b].bus
	toA, toB := d.channels(a.ID(), b.ID())
	la, err := a.Attach(context.Background(), toB)
	if err != nil {
		s.t.Error(err)
		return
	}
	time.Sleep(half)
	lb, err := b.Attach(context.Background(), toA)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links = append(s.links, [2]*bus.Link{la, lb})
}

// part breaks their link.
func (s *meshSim) part(e edge) {
	a, b := s.nodes[e.a].bus, s.nodes[e.b].bus
	for _, l := range []*bus.Link{a.Link(b.ID()), b.Link(a.ID())} {
		if l != nil {
			_ = l.Close() // a slow line may not end in time
			<-l.Done()
		}
	}
}

// wire makes the transports of an edge, all alike.
type wire struct {
	dice
	kind    int
	ordered bool
	even    bool // metadata gets through, and nothing is so slow that it is dropped
}

// channels returns both ends of a new transport, for b's side and for a's.
func (d wire) channels(a, b string) (toA, toB *bus.Channel) {
	if d.kind == 0 {
		return pairing.InMemory(a, b)
	}
	there, back := d.line(), d.line()
	toB = &bus.Channel{ID: b, Publisher: there, Out: "o", Subscriber: back, In: "i"}
	toA = &bus.Channel{ID: a, Publisher: back, Out: "o", Subscriber: there, In: "i"}
	switch d.kind {
	case 2:
		toA.Codec, toB.Codec = bus.JSON, bus.JSON
		there.bare = !d.even && d.pick(0, 1) == 1
		back.bare = there.bare
	case 3:
		toA.Heartbeat, toB.Heartbeat = -1, -1
	}
	return toA, toB
}

func (d wire) line() *line {
	if d.even {
		return &line{latency: d.ms(0, 1, 100), jitter: d.ms(1, 100, 500), rand: roll(d.Uint64()).Rand, sent: make(chan struct{}, 1)}
	}
	return &line{
		latency: d.ms(0, 1, 100, 1000, 6000), jitter: d.ms(0, 1, 500), ordered: d.ordered,
		service: time.Duration(d.pick(0, 0, 10, 1000, 20_000)) * time.Microsecond,
		rand:    roll(d.Uint64()).Rand, sent: make(chan struct{}, 1),
	}
}

func (s *meshSim) emitter(i int, nd *node) func() {
	count, burst, pause := s.pick(0, 1, 50, 300), s.pick(1, 5, 300), s.ms(1, 10, 100)
	return func() {
		for k := range count {
			if err := nd.hub.EmitRaw(context.Background(), fmt.Sprint("from.", i), json.RawMessage(strconv.Itoa(k))); err != nil {
				s.t.Error(err)
			}
			s.emitted.Add(1)
			if k%7 == 0 {
				_ = nd.hub.EmitRaw(context.Background(), "_private", nil)
			}
			if (k+1)%burst == 0 {
				time.Sleep(pause)
			}
		}
	}
}

func (s *meshSim) check() {
	var lost uint64
	for _, nd := range s.nodes {
		st := nd.hub.Stats()
		lost += st.Dropped + st.Overtaken + st.Spent
	}
	for _, pair := range s.links {
		a, b := pair[0].Stats(), pair[1].Stats()
		lost += a.Unsent + b.Unsent + a.Rejected + b.Rejected
		for _, x := range [][2]uint64{{a.Sent, b.Received}, {b.Sent, a.Received}} {
			if x[0] > x[1] { // what was on its way when the link closed
				lost += x[0] - x[1]
			}
		}
	}
	if *meshSeed != 0 {
		for i, nd := range s.nodes {
			s.t.Logf("node %d %+v %+v opts %+v heard %v", i, nd.hub.Stats(), nd.bus.Stats(), nd.bus.Options(), nd.heard)
		}
		for _, pair := range s.links {
			s.t.Logf("%s-%s %+v %+v", pair[1].ID(), pair[0].ID(), pair[0].Stats(), pair[1].Stats())
		}
	}
	for i, nd := range s.nodes {
		next := make(map[int]int)
		seen := make(map[[2]int]bool)
		for _, e := range nd.heard {
			require.False(s.t, seen[e], "node %d hears number %d of %d twice", i, e[1], e[0])
			seen[e] = true
			if s.ordered {
				require.GreaterOrEqual(s.t, e[1], next[e[0]], "node %d hears %d out of order", i, e[0])
			}
			next[e[0]] = e[1] + 1
		}
		if missing := s.emitted.Load() - uint64(len(seen)); s.steady {
			require.LessOrEqual(s.t, missing, lost, "node %d misses events that are not counted", i)
		}
	}
}
