package pairingtest

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func eventRules() []group {
	return []group{
		{"rule14_each_listener_gets_each_event_once", []statement{
			{"full_mesh_of_five_with_a_thousand_events", fullMesh, nil},
			{"cycle", func(k *kit) { onceEach(k, k.cycle(4), 100) }, nil},
			{"diamond", diamondOnce, nil},
			{"tree", func(k *kit) { onceEach(k, k.chain(4), 100) }, nil},
			{"an_event_that_comes_twice", eventTwice, nil},
			{"hops_are_bounded", hopsBounded, nil},
			{"an_event_grows_old", eventGrowsOld, nil},
			{"memory_is_bounded_shrinks_and_counts", dedupeBounded, nil},
			{"listeners_that_emit_to_each_other", pingPong, nil},
			{"payloads_arrive_untouched", eventPayloads, nil},
			{"of_a_group_one_listener_in_each_registry", groupInEachRegistry, nil},
		}},
		{"rule15_events_keep_their_order", []statement{
			{"on_one_link", orderOnLink, ordered},
			{"over_relays", func(k *kit) { orderBetween(k, k.chain(4), 3, 0) }, ordered},
			{"where_two_links_bring_them", orderInDiamond, ordered},
			{"an_event_before_the_reply", eventBeforeReply, ordered},
		}},
		{"rule16_a_listener_harms_only_itself", listenerStatements()},
	}
}

// groupInEachRegistry: without a fleet each registry is its own, whoever emits, and over relays.
func groupInEachRegistry(k *kit) {
	rs := k.cycle(4)
	const events = 80
	var tallies []*tally
	for _, r := range rs[:3] {
		sum := newTally()
		tallies = append(tallies, sum)
		k.shared(r, "g", "e", sum)
		k.shared(r, "g", ">", sum)
	}
	for i := range events {
		k.emit(rs[i%len(rs)], "e", strconv.Itoa(i))
	}
	k.still(rs...)
	for i, sum := range tallies {
		k.once(sum, events, 1, rs[i].ID())
	}
}

func fullMesh(k *kit) { onceEach(k, k.mesh(5), 1000) }

func diamondOnce(k *kit) {
	top, left, right, bottom := k.diamond()
	onceEach(k, []*commands.Registry{top, left, right, bottom}, 200)
}

// onceEach lets the registries emit events, n together, from a goroutine each,
// and checks that each of them gets each once, in the order of its emitter
// where it came over one link.
func onceEach(k *kit, rs []*commands.Registry, n int) {
	k.t.Helper()
	each := max(1, k.volume(n)/len(rs))
	inboxes := make([]*inbox, len(rs))
	for i, r := range rs {
		inboxes[i] = k.inbox(r, "news.*", each*len(rs))
	}
	var wg sync.WaitGroup
	for i, r := range rs {
		wg.Go(func() {
			for j := range each {
				if err := r.Events().EmitRaw(k.ctx, "news."+r.ID(), encoded(fmt.Sprintf("[%d,%d]", i, j))); err != nil {
					k.t.Errorf("emit: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for _, b := range inboxes {
		k.awaits(b.full, "all events")
	}
	k.still(rs...)
	for i, b := range inboxes {
		complete(k, rs[i].ID(), b.list(), len(rs), each)
	}
}

// complete checks that got is each event of each emitter once, and in order
// where the transport keeps order.
func complete(k *kit, who string, got []string, emitters, each int) {
	k.t.Helper()
	require.Lenf(k.t, got, emitters*each, "%s got events twice", who)
	seen := make(map[string]bool)
	next := make([]int, emitters)
	for _, payload := range got {
		require.Falsef(k.t, seen[payload], "%s got %s twice", who, payload)
		seen[payload] = true
		var pair [2]int
		require.NoError(k.t, json.Unmarshal([]byte(payload), &pair))
		if k.Ordered {
			require.Equalf(k.t, next[pair[0]], pair[1], "%s: order of emitter %d", who, pair[0])
		}
		next[pair[0]]++
	}
}

func eventTwice(k *kit) {
	r := k.registry("r")
	b := k.inbox(r, "x", 2)
	first, _ := k.wire(r, "first", everything, `[]`)
	second, _ := k.wire(r, "second", everything, `[]`)
	third, _ := k.wire(r, "third", everything, `[]`)
	for range 3 {
		for _, w := range []*wire{first, second} {
			w.send(bus.Envelope{ID: "one and the same", Type: bus.Event, Name: "x", Body: encoded("1")})
			w.flush()
		}
	}
	first.send(bus.Envelope{Type: bus.Event, Name: "x", Body: encoded("2")})
	k.awaits(b.full, "both events")
	require.Equal(k.t, []string{"1", "2"}, b.list())
	require.Equal(k.t, "one and the same", third.expect(bus.Event).ID, "the ID stays on every hop")
	third.expect(bus.Event)
	third.flush()
	require.Zero(k.t, third.received(bus.Event))
	require.EqualValues(k.t, 5, r.Stats().Bus.Duplicates)
}

func hopsBounded(k *kit) {
	r := k.registry("r")
	b := k.inbox(r, "x", 2)
	from, _ := k.wire(r, "from", everything, `[]`)
	to, _ := k.wire(r, "to", everything, `[]`)
	from.send(bus.Envelope{Type: bus.Event, Name: "x", Hops: bus.MaxHops, Body: encoded("1")})
	from.send(bus.Envelope{Type: bus.Event, Name: "x", Hops: bus.MaxHops - 1, Body: encoded("2")})
	k.awaits(b.full, "both events")
	got := to.expect(bus.Event)
	require.Equal(k.t, "2", string(got.Body), "an event went on for ever")
	require.Equal(k.t, bus.MaxHops, got.Hops)
	to.flush()
	require.Zero(k.t, to.received(bus.Event))
}

// eventGrowsOld clogs the way on for longer than the event may live.
func eventGrowsOld(k *kit) {
	k.longer("an event waits for its way on before it is old", func(life time.Duration) bool {
		r := k.registry("r")
		from, _ := k.wire(r, "from", everything, `[]`)
		toPeer, toRegistry := k.pair("to", "r")
		c := &clog{Publisher: toPeer.Publisher, hold: make(chan struct{}), held: make(chan struct{}, 64)}
		toPeer.Publisher, toPeer.InProcess = c, false
		link := k.attach(r, toPeer)
		to := k.play(toRegistry, everything, `[]`)
		k.ready(link)
		c.on.Store(true)
		from.send(bus.Envelope{Type: bus.Event, Name: "held"})
		recv(k, c.held, "the event on its way")
		sent := time.Now()
		from.send(bus.Envelope{Type: bus.Event, Name: "old", Life: life})
		from.flush()
		enough := time.Since(sent) < life/2 // it has come, and waits
		recv(k, time.After(life), "the end of the event's life")
		close(c.hold)
		require.Equal(k.t, "held", to.expect(bus.Event).Name)
		k.emit(r, "new", "")
		require.Equal(k.t, "new", to.expect(bus.Event).Name, "an event was relayed after its time")
		if enough {
			require.EqualValues(k.t, 1, link.Stats().Unsent, "it was dropped without a count")
		}
		return enough
	})
}

// dedupeBounded looks at the bound where nothing expires, and at the shrinking where everything does soon: how long the
// messages take on their way says nothing about either.
func dedupeBounded(k *kit) {
	const bound = 64
	sent := func(id string, ttl time.Duration) *commands.Registry {
		r := k.registry(id, func(c *commands.Config) { c.DedupeKeys, c.EventTTL, c.RequestTTL = bound, ttl, ttl })
		k.echo(r, "echo")
		w, _ := k.wire(r, "peer", everything, `[]`)
		for range 2 * bound {
			w.send(bus.Envelope{Type: bus.Event, Name: "x"})
			w.request("", "echo", "")
		}
		w.flush()
		return r
	}
	s := sent("keeps", time.Hour).Stats().Bus
	require.LessOrEqual(k.t, s.EventKeys, bound)
	require.LessOrEqual(k.t, s.RequestKeys, bound)
	require.Positive(k.t, s.EventKeys)
	require.Positive(k.t, s.RequestKeys)
	require.GreaterOrEqual(k.t, s.Evicted, uint64(2*bound))
	forgets := sent("forgets", k.brief())
	k.eventually("nothing is remembered", func() bool {
		s := forgets.Stats().Bus
		return s.EventKeys == 0 && s.RequestKeys == 0
	})
}

func pingPong(k *kit) {
	root, worker := k.couple()
	rounds := k.volume(200)
	done := make(chan struct{})
	hit := func(r *commands.Registry, hears, says string) {
		_, err := r.Events().ListenRaw(hears, func(ctx context.Context, _ string, payload json.RawMessage) {
			n, _ := strconv.Atoi(string(payload))
			if n == rounds {
				close(done)
				return
			}
			if err := r.Events().EmitRaw(ctx, says, encoded(strconv.Itoa(n+1))); err != nil {
				k.t.Errorf("emit: %v", err)
			}
		})
		require.NoError(k.t, err)
	}
	hit(root, "ping", "pong")
	hit(worker, "pong", "ping")
	k.emit(worker, "ping", "1")
	k.awaits(done, "the last round")
}

func eventPayloads(k *kit) {
	rs := k.chain(3)
	payloads := []string{"", "null", "9007199254740993", `{"a":"\u2028<>&","b":null}`, `"` + strings.Repeat("x", 100_000) + `"`}
	b := k.inbox(rs[0], "x", len(payloads))
	for _, p := range payloads {
		k.emit(rs[2], "x", p)
		k.still(rs...)
	}
	k.awaits(b.full, "all events")
	for i, got := range b.list() {
		if payloads[i] == "" {
			require.Empty(k.t, got)
			continue
		}
		require.Equal(k.t, canonical(k, payloads[i]), canonical(k, got))
	}
}

func orderOnLink(k *kit) {
	rs := make([]*commands.Registry, 2)
	rs[0], rs[1] = k.couple()
	orderBetween(k, rs, 0, 1)
	orderBetween(k, rs, 1, 0)
}

// orderBetween emits at one and checks the order at another.
func orderBetween(k *kit, rs []*commands.Registry, from, to int) {
	k.t.Helper()
	n := k.volume(1000)
	b := k.inbox(rs[to], fmt.Sprintf("from%d", from), n)
	for i := range n {
		k.emit(rs[from], fmt.Sprintf("from%d", from), strconv.Itoa(i))
	}
	k.awaits(b.full, "all events")
	inOrder(k, b.list())
}

func inOrder(k *kit, got []string) {
	k.t.Helper()
	for i, payload := range got {
		require.Equal(k.t, strconv.Itoa(i), payload, "out of order")
	}
}

func orderInDiamond(k *kit) {
	top, _, _, bottom := k.diamond()
	n := k.volume(1000)
	b := k.inbox(bottom, "x", n)
	for i := range n {
		k.emit(top, "x", strconv.Itoa(i))
	}
	k.awaits(b.full, "all events")
	inOrder(k, b.list())
}

func eventBeforeReply(k *kit) {
	root, worker := k.couple()
	b := k.inbox(root, "done", k.volume(500))
	k.raw(worker, "work", func(ctx context.Context, req json.RawMessage) (json.RawMessage, error) {
		return req, worker.Events().EmitRaw(ctx, "done", req)
	})
	for i := range k.volume(500) {
		k.ok(root, "work", strconv.Itoa(i))
		require.EqualValues(k.t, i+1, root.Events().Stats().Received, "the reply was faster than the event")
	}
	k.awaits(b.full, "all events")
	inOrder(k, b.list())
}
