package pairingtest

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/fleet"
)

func fleetListenerGroups() []fleetStatement {
	return []fleetStatement{
		{"each_event_once_for_each_group_and_everywhere_without", onceForEachGroup, nil},
		{"local_first", groupLocalFirst, nil},
		{"the_others_share", othersShare, nil},
		{"patterns_with_wildcards", groupPatterns, nil},
		{"a_group_that_nobody_serves", groupOfNobody, nil},
		{"listeners_come_and_go", groupMembersComeAndGo, nil},
		{"one_leaves_and_one_dies_under_load", groupDepartures, nil},
		{"who_shuts_down_loses_none_and_what_his_listeners_emit_arrives", retirement, nil},
		{"who_leaves_loses_none", leaving, nil},
		{"redelivered_three_times", groupsThrice, nil},
		{"what_is_emitted_while_it_attaches_runs_once_at_most", groupWhileAttaching, nil},
		{"nonsense_about_groups_is_rejected", groupNonsense, nil},
		{"a_child_listens_for_its_process", groupInTree, nil},
		{"in_the_process_that_is_picked_each_registry_is_its_own", groupInWholeTree, nil},
		{"what_was_heard_in_a_circle_is_forgotten", groupInCircle, nil},
		{"beyond_another_channel_each_registry_is_its_own", groupBeyondJoin, nil},
	}
}

// tally counts how often each payload came.
type tally struct {
	mu    sync.Mutex
	times map[string]int // guarded by mu
}

func newTally() *tally { return &tally{times: make(map[string]int)} }

func (c *tally) add(payload json.RawMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.times[string(payload)]++
}

func (c *tally) all() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.times)
}

func (c *tally) len() int { return len(c.all()) }

// shared adds a listener of a group, which counts in all of the tallies.
func (k *kit) shared(r *commands.Registry, group, pattern string, in ...*tally) *events.Listener {
	k.t.Helper()
	l, err := r.Events().ListenRaw(pattern, func(_ context.Context, _ string, payload json.RawMessage) {
		for _, c := range in {
			c.add(payload)
		}
	}, events.ListenOptions{Group: group})
	require.NoError(k.t, err)
	return l
}

// groupAt waits until n knows that exactly these others listen in the group.
func (k *fleetKit) groupAt(n *node, group string, others ...*node) {
	k.t.Helper()
	want := make([]string, 0, len(others))
	for _, o := range others {
		want = append(want, o.ID())
	}
	slices.Sort(want)
	k.eventually(n.ID()+" knows who listens in "+group, func() bool {
		got := make([]string, 0, len(want))
		for _, m := range n.fleet.Members() {
			if slices.Contains(m.Groups, group) {
				got = append(got, m.ID)
			}
		}
		return slices.Equal(want, got)
	})
}

// once requires that exactly the payloads 0 to n-1 came, each so many times.
func (k *kit) once(c *tally, n, times int, what string) {
	k.t.Helper()
	k.poll(func() bool { return c.len() >= n }, patience) // where order is not kept, a flush says little
	want := make(map[string]int, n)
	for i := range n {
		want[strconv.Itoa(i)] = times
	}
	require.Equalf(k.t, want, c.all(), "%s", what)
}

func registries(nodes ...*node) (rs []*commands.Registry) {
	for _, n := range nodes {
		rs = append(rs, n.Registry)
	}
	return rs
}

func onceForEachGroup(k *fleetKit) {
	all := k.nodes(5)
	mail, audit := newTally(), newTally()
	everywhere := make([]*tally, len(all))
	for i, n := range all {
		everywhere[i] = newTally()
		k.shared(n.Registry, "", "e", everywhere[i])
		if i < 3 {
			k.shared(n.Registry, "mail", "e", mail)
		} else {
			k.shared(n.Registry, "audit", ">", audit)
		}
	}
	for i, n := range all {
		k.groupAt(n, "mail", slices.DeleteFunc(slices.Clone(all[:3]), func(o *node) bool { return o == all[i] })...)
		k.groupAt(n, "audit", slices.DeleteFunc(slices.Clone(all[3:]), func(o *node) bool { return o == all[i] })...)
	}
	count := k.volume(1000)
	var wg sync.WaitGroup
	for from, n := range all {
		wg.Go(func() {
			for i := from; i < count; i += len(all) {
				if err := n.Events().EmitRaw(k.ctx, "e", encoded(strconv.Itoa(i))); err != nil {
					k.t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	k.still(registries(all...)...)
	k.once(mail, count, 1, "mail")
	k.once(audit, count, 1, "audit")
	for i, n := range all {
		k.once(everywhere[i], count, 1, "without a group at "+n.ID())
	}
}

func groupLocalFirst(k *fleetKit) {
	all := k.nodes(3)
	here, there := newTally(), newTally()
	k.shared(all[0].Registry, "g", "e", here)
	k.shared(all[1].Registry, "g", "e", there)
	k.shared(all[2].Registry, "g", "e", there)
	k.groupAt(all[0], "g", all[1], all[2])
	for i := range 100 {
		k.emit(all[0].Registry, "e", strconv.Itoa(i))
	}
	k.still(registries(all...)...)
	k.once(here, 100, 1, "where it was emitted")
	require.Empty(k.t, there.all())
}

func othersShare(k *fleetKit) {
	all := k.nodes(3)
	sum, first, second := newTally(), newTally(), newTally()
	k.shared(all[1].Registry, "g", "e", sum, first)
	k.shared(all[2].Registry, "g", "e", sum, second)
	k.groupAt(all[0], "g", all[1], all[2])
	for i := range 200 {
		k.emit(all[0].Registry, "e", strconv.Itoa(i))
	}
	k.still(registries(all...)...)
	k.once(sum, 200, 1, "both together")
	require.Greater(k.t, first.len(), 50)
	require.Greater(k.t, second.len(), 50)
}

func groupPatterns(k *fleetKit) {
	all := k.nodes(3)
	users, orders := newTally(), newTally()
	k.shared(all[1].Registry, "g", "user.*", users)
	k.shared(all[1].Registry, "g", "user.created", users)
	k.shared(all[2].Registry, "g", "user.>", users)
	k.shared(all[2].Registry, "g", "order.created", orders)
	k.shared(all[2].Registry, "g", "_private", orders)
	k.groupAt(all[0], "g", all[1], all[2])
	k.shared(all[2].Registry, "last", "never", orders) // so that all before it is known
	k.groupAt(all[0], "last", all[2])
	for i := range 60 {
		k.emit(all[0].Registry, []string{"user.created", "user.gone", "user.created.again"}[i%3], strconv.Itoa(i))
	}
	for i := range 20 {
		k.emit(all[0].Registry, "order.created", strconv.Itoa(i))
		k.emit(all[0].Registry, "order.gone", strconv.Itoa(i))
		k.emit(all[0].Registry, "_private", strconv.Itoa(i))
	}
	k.still(registries(all...)...)
	k.once(users, 60, 1, "user.>")
	k.once(orders, 20, 1, "order.created")
}

func groupOfNobody(k *fleetKit) {
	all := k.nodes(2)
	none, plain := newTally(), newTally()
	k.shared(all[1].Registry, "g", "other", none)
	k.shared(all[1].Registry, "", "e", plain)
	k.groupAt(all[0], "g", all[1])
	for i := range 10 {
		k.emit(all[0].Registry, "e", strconv.Itoa(i))
	}
	k.still(registries(all...)...)
	k.once(plain, 10, 1, "without a group")
	require.Empty(k.t, none.all())
}

func groupMembersComeAndGo(k *fleetKit) {
	all := k.nodes(3)
	stays, sum := newTally(), newTally()
	k.shared(all[1].Registry, "g", "e", stays, sum)
	next := 0
	emit := func(n int) {
		for range n {
			k.emit(all[0].Registry, "e", strconv.Itoa(next))
			next++
		}
		k.still(registries(all...)...)
		k.once(sum, next, 1, "all together")
	}
	for round := range 3 {
		k.groupAt(all[0], "g", all[1])
		before := stays.len()
		emit(20)
		require.Equalf(k.t, before+20, stays.len(), "round %d: alone in the group", round)
		l := k.shared(all[2].Registry, "g", "e", sum)
		twin := k.shared(all[2].Registry, "g", "e", sum)
		k.groupAt(all[0], "g", all[1], all[2])
		twin.Close()
		before = stays.len()
		emit(60)
		require.Less(k.t, stays.len(), before+60, "the other one has its share, also with one listener less")
		l.Close()
		l.Close()
	}
}

// groupDepartures has members of a group leave, die and close their listeners while events come.
func groupDepartures(k *fleetKit) {
	short := k.short()
	all := k.nodes(5, short)
	emitter, stays, leaves, dies, closes := all[0], all[1], all[2], all[3], all[4]
	sum, plain := newTally(), newTally()
	k.shared(stays.Registry, "", "e", plain)
	for _, n := range []*node{stays, leaves, dies} {
		k.shared(n.Registry, "g", "e", sum)
	}
	l := k.shared(closes.Registry, "g", "e", sum)
	k.groupAt(emitter, "g", stays, leaves, dies, closes)
	stop := k.flow(emitter)
	k.eventually("events come", func() bool { return sum.len() > 50 })
	l.Close()
	require.NoError(k.t, leaves.fleet.Leave(k.ctx))
	dies.net.cut.Store(true)
	k.groupAt(emitter, "g", stays)
	first := stop()
	next := first
	for ; next < first+100; next++ {
		k.emit(emitter.Registry, "e", strconv.Itoa(next))
	}
	k.still(emitter.Registry, stays.Registry, closes.Registry)
	k.once(plain, next, 1, "without a group")
	got := sum.all()
	for id, times := range got {
		require.LessOrEqualf(k.t, times, 1, "event %s ran twice", id)
	}
	for i := first; i < next; i++ {
		require.Equalf(k.t, 1, got[strconv.Itoa(i)], "event %d, when it was known who is left", i)
	}
}

func groupsThrice(k *fleetKit) {
	thrice := nodeOptions{publish: func(next message.Publisher) message.Publisher { return repeater{next, 3} }}
	all := k.nodes(3, thrice)
	sum := newTally()
	k.shared(all[1].Registry, "g", "e", sum)
	k.shared(all[2].Registry, "g", "e", sum)
	k.groupAt(all[0], "g", all[1], all[2])
	for i := range 100 {
		k.emit(all[0].Registry, "e", strconv.Itoa(i))
	}
	k.still(registries(all...)...)
	k.once(sum, 100, 1, "the group")
}

// groupWhileAttaching emits before the registry can know that it talks to a fleet.
func groupWhileAttaching(k *fleetKit) {
	there := k.node("there")
	sum := newTally()
	k.shared(there.Registry, "g", "e", sum)
	r := k.registry("here")
	k.shared(r, "g", "e", sum)
	pub, sub, o := k.broker(k.t)
	o.Namespace, o.ID, o.Lease, o.Logger = k.namespace, "here", k.slow(20*time.Second), silentLogger
	f, err := fleet.New(k.ctx, pub, sub, o)
	require.NoError(k.t, err)
	k.t.Cleanup(func() { _ = f.Close() })
	here := &node{Registry: r, fleet: f}
	require.NoError(k.t, f.Ready(k.ctx))
	k.groupAt(here, "g", there)
	here.link = k.attach(r, f.Channel())
	next := 0
	pace := time.NewTicker(time.Millisecond / 4) // a broker may drop what comes faster than it is taken
	defer pace.Stop()
	for ready := false; !ready; <-pace.C {
		select {
		case <-here.link.Ready():
			ready = true
		default:
		}
		k.emit(r, "e", strconv.Itoa(next))
		k.emit(there.Registry, "e", strconv.Itoa(next+1))
		next += 2
	}
	k.still(r, there.Registry)
	k.once(sum, next, 1, "who emits has a listener")
}

func groupNonsense(k *fleetKit) {
	all := k.nodes(2)
	served := newTally()
	k.shared(all[1].Registry, "g", "e", served)
	k.groupAt(all[0], "g", all[1])
	pub, _, o := k.broker(k.t)
	inbox := k.namespace + ".inbox.p1"
	if o.Topic != nil {
		inbox = o.Topic(inbox)
	}
	session := all[1].fleet.Members()[0].Session
	send := func(body string, md message.Metadata) {
		m := message.NewMessage(bus.NewID(), []byte(body))
		m.Metadata = md
		m.Metadata["leat-fleet-from"], m.Metadata["leat-fleet-session"] = "p0", session
		require.NoError(k.t, pub.Publish(inbox, m))
	}
	for _, picks := range []string{"g", "=s", "g=", ",", "g=s,", "a b=s"} {
		send("", message.Metadata{"leat-type": "event", "leat-id": bus.NewID(), "leat-name": "e", "leat-fleet-picks": picks})
	}
	for _, join := range []string{`{"group":"","pattern":"e"}`, `{"group":"a,b","pattern":"e"}`, `{"group":"g","pattern":""}`,
		`{"group":"g","pattern":"a*"}`, `{"group":"g","pattern":"_private"}`, `{"group":"g"}`, `7`} {
		send(`{"join":[`+join+`]}`, message.Metadata{"leat-fleet-kind": "list", "leat-fleet-part": "1/1", "leat-fleet-version": "1000"})
	}
	k.eventually("all are rejected", func() bool { return all[1].fleet.Stats().Rejected == 13 })
	require.Empty(k.t, all[1].fleet.Members()[0].Groups)
	k.emit(all[0].Registry, "e", "0")
	k.still(registries(all...)...)
	k.once(served, 1, 1, "what was known before is")
}

func groupInTree(k *fleetKit) {
	a, child := k.branch("a")
	grandchild := k.registry("a.child.child", under("a.child"))
	k.adopt(child, grandchild)
	b, c := k.node("b"), k.node("c")
	k.met(a, b, c)
	sum, inTree := newTally(), newTally()
	l := k.shared(grandchild, "g", "e", sum, inTree)
	k.shared(b.Registry, "g", "e", sum)
	k.groupAt(c, "g", a, b)
	k.groupAt(a, "g", b)
	next := 0
	rs := append(registries(a, b, c), child, grandchild)
	emit := func(from *commands.Registry) (inTreeNow int) {
		before := inTree.len()
		for range 100 {
			k.emit(from, "e", strconv.Itoa(next))
			next++
		}
		k.still(rs...)
		k.once(sum, next, 1, "the group")
		return inTree.len() - before
	}
	for name, from := range map[string]*commands.Registry{"the registry at the fleet": a.Registry, "the child": child, "the grandchild": grandchild} {
		require.Equalf(k.t, 100, emit(from), "emitted in the tree, by %s: local first", name)
	}
	there := emit(c.Registry)
	require.Greater(k.t, there, 20, "the process is picked for what its grandchild listens to")
	require.Less(k.t, there, 80)
	l.Close()
	k.groupAt(c, "g", b)
	require.Zero(k.t, emit(c.Registry))
	k.shared(grandchild, "g", "e", sum, inTree)
	k.groupAt(c, "g", a, b)
	require.NoError(k.t, child.Close())
	k.groupAt(c, "g", b)
	rs = registries(a, b, c)
	require.Zero(k.t, emit(c.Registry))
}

func groupInWholeTree(k *fleetKit) {
	a, child := k.branch("a")
	b := k.node("b")
	k.met(a, b)
	parents, childs := newTally(), newTally()
	k.shared(a.Registry, "g", "e", parents)
	k.shared(child, "g", "e", childs)
	k.groupAt(b, "g", a)
	for i := range 50 {
		k.emit(b.Registry, "e", strconv.Itoa(i))
	}
	k.still(a.Registry, b.Registry, child)
	k.once(parents, 50, 1, "the registry at the fleet")
	k.once(childs, 50, 1, "its child")
}

func groupInCircle(k *fleetKit) {
	a, b := k.node("a"), k.node("b")
	k.met(a, b)
	circle := []*commands.Registry{a.Registry, k.registry("x"), k.registry("y"), k.registry("z")}
	for i, r := range circle {
		k.adopt(r, circle[(i+1)%len(circle)])
	}
	sum := newTally()
	l := k.shared(circle[2], "g", "e", sum)
	k.groupAt(b, "g", a)
	for i := range 50 {
		k.emit(b.Registry, "e", strconv.Itoa(i))
	}
	k.still(append(circle, b.Registry)...)
	k.once(sum, 50, 1, "the group, which is two ways away")
	l.Close()
	k.groupAt(b, "g")
}

// groupBeyondJoin: a registry that is not of the fleet's process serves its groups itself, whoever is picked.
func groupBeyondJoin(k *fleetKit) {
	a, b := k.node("a"), k.node("b")
	k.met(a, b)
	beyond := k.registry("beyond")
	down, up := pairing.InMemory("beyond", "a")
	down.Local, up.Local = false, false // as of a link that leaves the process
	k.ready(k.attach(a.Registry, down), k.attach(beyond, up))
	fleets, its := newTally(), newTally()
	k.shared(a.Registry, "g", "e", fleets)
	k.shared(beyond, "g", "e", its)
	k.groupAt(b, "g", a)
	k.shared(b.Registry, "g", "e", fleets)
	k.groupAt(a, "g", b)
	for i := range 60 {
		k.emit([]*commands.Registry{a.Registry, b.Registry, beyond}[i%3], "e", strconv.Itoa(i))
	}
	k.still(a.Registry, b.Registry, beyond)
	k.once(fleets, 60, 1, "the fleet's")
	k.once(its, 60, 1, "that of the registry beyond")
}
