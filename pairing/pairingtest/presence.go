package pairingtest

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

// Presence says that links over the transport notice when their peer vanishes
// and when it comes back: see bus.Channel.Heartbeat.
type Presence struct {
	// Pair makes a pair whose halves can be made again and again, as both sides
	// come and go: each call of toA and toB gives a fresh channel over the same
	// topics, by the convention of Factory. What was said of that holds here too.
	Pair func(t testing.TB, a, b string) (toA, toB func() (*bus.Channel, error))
	// Lease is how long it may take until a peer that has vanished is a closed
	// link: three times the heartbeat. The kit waits for it some times; below half a second a
	// busy machine may miss it.
	Lease time.Duration
}

func present(f Features) bool { return f.Presence != nil }

func presenceStatements() []statement {
	return []statement{
		{"a_vanished_peer_is_a_closed_link", vanishes, present},
		{"a_returned_peer_is_an_open_link_with_its_commands", returns, present},
		{"a_restarted_peer_is_met_whatever_the_old_one_left", restarts, present},
		{"both_sides_restart_at_once", bothRestart, present},
		{"what_an_earlier_life_sent_changes_nothing", earlierLives, present},
		{"a_peer_that_is_silent_for_longer_than_the_lease_comes_back", pauses, present},
		{"an_idle_link_and_one_with_a_slow_handler_live", outlivesLease, present},
		{"sides_that_close_each_other_converge", closeEachOther, present},
	}
}

// way is a pair whose two sides are registries that come and go.
type way struct {
	k     *kit
	sides [2]*side
	ether *recorder
}

// side is one of them. Its life is a registry and a connection.
type side struct {
	way     *way
	id      string
	command string
	channel func() (*bus.Channel, error)
	runs    atomic.Int64

	registry *commands.Registry
	conn     *pairing.Connection
	silent   *atomic.Bool // of this life: what it publishes is lost
}

// recorder remembers what was published on either half of a way.
type recorder struct {
	mu   sync.Mutex
	sent []sent // guarded by mu
}

type sent struct {
	to    message.Publisher
	topic string
	msg   *message.Message
}

// recording is the publisher of one life.
type recording struct {
	message.Publisher
	recorder *recorder
	silent   *atomic.Bool
}

func (r *recording) Publish(topic string, ms ...*message.Message) error {
	r.recorder.mu.Lock()
	for _, m := range ms {
		r.recorder.sent = append(r.recorder.sent, sent{r.Publisher, topic, m.Copy()})
	}
	r.recorder.mu.Unlock()
	if r.silent.Load() {
		return nil
	}
	return r.Publisher.Publish(topic, ms...)
}

// replay publishes all of it again, in any order.
func (r *recorder) replay(k *kit) {
	r.mu.Lock()
	all := append([]sent(nil), r.sent...)
	r.mu.Unlock()
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, s := range all {
		require.NoError(k.t, s.to.Publish(s.topic, s.msg.Copy()))
	}
}

// way makes a pair of sides, a and b, and starts both.
func (k *kit) way() (a, b *side) {
	k.t.Helper()
	w := &way{k: k, ether: new(recorder)}
	toB, toA := k.Presence.Pair(k.t, "b", "a")
	w.sides = [2]*side{{way: w, id: "a", command: "a.echo", channel: toB}, {way: w, id: "b", command: "b.echo", channel: toA}}
	for _, s := range w.sides {
		s.start()
	}
	k.meet(w.sides[0], w.sides[1])
	return w.sides[0], w.sides[1]
}

// start begins a life.
func (s *side) start() {
	k := s.way.k
	k.t.Helper()
	r, silent := k.registry(s.id), new(atomic.Bool)
	k.raw(r, s.command, func(_ context.Context, req json.RawMessage) (json.RawMessage, error) {
		s.runs.Add(1)
		return req, nil
	})
	conn := pairing.Connect(context.Background(), r, func() (*bus.Channel, error) {
		ch, err := s.channel()
		if err == nil {
			ch.Publisher = &recording{ch.Publisher, s.way.ether, silent}
		}
		return ch, err
	})
	k.t.Cleanup(func() { _ = conn.Close() })
	s.registry, s.conn, s.silent = r, conn, silent
}

// vanish ends a life without a word.
func (s *side) vanish() {
	s.silent.Store(true)
	_ = s.conn.Close()
	_ = s.registry.Close()
}

// meet waits until a and b can call each other.
func (k *kit) meet(sides ...*side) {
	k.t.Helper()
	for i, s := range sides {
		command := sides[1-i].command
		k.eventually(s.id+" can call "+command, func() bool {
			ctx, cancel := context.WithTimeout(k.ctx, k.slow(time.Second))
			defer cancel()
			if s.conn.Ready(ctx) != nil {
				return false
			}
			got, err := s.registry.ExecuteRaw(ctx, command, json.RawMessage(`1`))
			return err == nil && string(got) == "1"
		})
	}
}

// lease is the time within which a vanished peer is noticed, and some.
func (k *kit) lease() time.Duration { return k.Presence.Lease + k.slow(2*time.Second) }

// live fails if a link ends within that time.
func (k *kit) live(d time.Duration, links ...*bus.Link) {
	k.t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	ended := make(chan *bus.Link, len(links))
	for _, l := range links {
		stop := context.AfterFunc(l.Context(), func() { ended <- l })
		defer stop()
	}
	select {
	case l := <-ended:
		<-l.Done()
		k.t.Fatalf("the link to %q ended: %v", l.ID(), l.Err())
	case <-timer.C:
	}
}

// ends fails if the link does not end within the lease.
func (k *kit) ends(l *bus.Link) {
	k.t.Helper()
	timer := time.NewTimer(k.lease())
	defer timer.Stop()
	select {
	case <-l.Done():
		require.ErrorIs(k.t, l.Err(), bus.ErrPeerClosed)
	case <-timer.C:
		k.t.Fatalf("the link to %q is still open %s after its peer vanished", l.ID(), k.lease())
	}
}

func vanishes(k *kit) {
	a, b := k.way()
	s := k.stuck(b.registry, "b.stuck")
	k.knows(a.registry, "b.stuck")
	waits := k.call(k.ctx, a.registry, "b.stuck", "")
	recv(k, s.started, "the handler's start")
	link := a.conn.Link()
	b.vanish()
	k.ends(link)
	require.ErrorIs(k.t, recv(k, waits, "the call's end").err, commands.ErrChannelDisconnected)
	k.fails(a.registry, b.command, commands.ErrNotFound)
	k.settled(a.registry)
}

func returns(k *kit) {
	a, b := k.way()
	link := a.conn.Link()
	b.vanish()
	k.ends(link)
	b.start()
	k.meet(a, b)
	require.NoError(k.t, b.conn.Close())
	require.NoError(k.t, b.registry.Close())
	k.forgets(a.registry, b.command) // it said goodbye
	b.start()
	k.meet(a, b)
}

func restarts(k *kit) {
	a, b := k.way()
	for range 3 {
		b.silent.Store(true)
		was := b.conn
		b.start() // while the old one is still attached
		k.meet(a, b)
		require.NoError(k.t, was.Close())
		k.meet(a, b)
	}
	k.live(k.Presence.Lease/2, a.conn.Link(), b.conn.Link())
}

func bothRestart(k *kit) {
	a, b := k.way()
	for range 3 {
		a.vanish()
		b.vanish()
		a.start()
		b.start()
		k.meet(a, b)
	}
	k.live(k.Presence.Lease/2, a.conn.Link(), b.conn.Link())
}

// earlierLives has everything redelivered that two lives of both sides have
// sent, goodbyes and requests too.
func earlierLives(k *kit) {
	a, b := k.way()
	for _, s := range []*side{a, b} {
		require.NoError(k.t, s.conn.Close())
		require.NoError(k.t, s.registry.Close())
		s.start()
	}
	k.meet(a, b)
	ab, ba := a.conn.Link(), b.conn.Link()
	runs := [2]int64{a.runs.Load(), b.runs.Load()}
	a.way.ether.replay(k)
	k.flush(a.registry)
	k.flush(b.registry)
	require.NoError(k.t, ab.Err())
	require.NoError(k.t, ba.Err())
	require.Same(k.t, ab, a.conn.Link())
	require.Same(k.t, ba, b.conn.Link())
	require.Equal(k.t, runs, [2]int64{a.runs.Load(), b.runs.Load()}, "a request ran again")
	require.Positive(k.t, ab.Stats().Stale+ba.Stats().Stale)
	k.meet(a, b)
}

func pauses(k *kit) {
	a, b := k.way()
	ab, ba := a.conn.Link(), b.conn.Link()
	a.silent.Store(true)
	b.silent.Store(true)
	k.ends(ab)
	k.ends(ba)
	a.silent.Store(false)
	b.silent.Store(false)
	k.meet(a, b)
}

func outlivesLease(k *kit) {
	a, b := k.way()
	s := k.stuck(b.registry, "b.stuck")
	k.knows(a.registry, "b.stuck")
	waits := k.call(k.ctx, a.registry, "b.stuck", "")
	recv(k, s.started, "the handler's start")
	k.live(2*k.Presence.Lease, a.conn.Link(), b.conn.Link())
	s.let()
	require.NoError(k.t, recv(k, waits, "the answer").err)
	k.live(2*k.Presence.Lease, a.conn.Link(), b.conn.Link())
	k.meet(a, b)
}

func closeEachOther(k *kit) {
	a, b := k.way()
	for range 5 {
		var wg sync.WaitGroup
		for _, s := range []*side{a, b} {
			wg.Go(func() {
				if l := s.conn.Link(); l != nil {
					_ = l.Close()
				}
			})
		}
		wg.Wait()
	}
	k.meet(a, b)
	k.live(k.Presence.Lease, a.conn.Link(), b.conn.Link())
}
