package fleet

import (
	"slices"
	"strings"
	"time"

	"github.com/leatbus/leat/bus"
)

// member is another process, as this one sees it. Until it is called, or calls, it is a record without anything else. All of it is
// guarded by Fleet.mu.
type member struct {
	process
	box      *outbox            // to its inbox; nil until there are requests or replies for it
	used     time.Time          // when box was used last
	heard    time.Time          // when it was heard of last
	lease    time.Duration      // how long it may be silent: as it has said, before that as long as this process
	wire     int64              // the version that it speaks
	foreign  bool               // and that does not fit: it is seen, and not talked to
	draining bool               // it is about to leave, and not chosen any more
	drainAt  time.Time          // when that was heard of
	drainOf  int64              // when it said so
	closing  bool               // it has said goodbye, and may still have answers on their way
	version  int64              // of its commands and groups
	reached  int64              // the stamp at which that was heard of
	kind     *kind              // these, as it has said; nil before it has
	shown    *kind              // these, as far as they are known here; nil: it serves nothing
	without  map[string]bool    // of these: what it has said it does not have
	calls    map[string]*call   // requests that wait for its answer, by ID
	serving  map[string]*served // requests of its that are not answered, by its ID
	gaps     int64              // of its inbox, as it has said; -1 before that
	clock    clock
	doubted  time.Time // when it was last doubted
	watch    watch     // whether it is there
	inquiry  *inquiry  // what its version is; nil: it was never asked
	telling  *telling  // how it is told this process's; nil: it never was
	picked   string    // the last event for which it was picked here
	mark     uint64    // its part of the digest; 0: none
}

// service is a command that others execute.
type service struct {
	def     bus.Definition    // as it was announced last by one of the servers
	servers []*member         // at least one, unless it is durable
	places  map[*member]place // of the servers
	takers  int               // of the servers: those that take requests from the queue
}

// place is where a server is among the others, and whether it takes requests from the queue.
type place struct {
	index   int
	durable bool
}

// add and remove change the servers, at a cost that does not depend on how many there are.
func (s *service) add(m *member, durable bool) {
	p, there := s.places[m]
	if !there {
		p.index = len(s.servers)
		s.servers = append(s.servers, m)
	}
	s.takers += count(durable) - count(p.durable)
	p.durable = durable
	s.places[m] = p
}

func (s *service) remove(m *member) {
	p, there := s.places[m]
	if !there {
		return
	}
	s.takers -= count(p.durable)
	last := len(s.servers) - 1
	moved := s.servers[last]
	s.servers[p.index] = moved
	s.places[moved] = place{p.index, s.places[moved].durable}
	s.servers[last] = nil
	s.servers = s.servers[:last]
	delete(s.places, m)
}

// departure is why a member is dropped.
type departure string

const (
	restarted departure = "it was restarted"
	lapsed    departure = "it was not heard of for its lease"
	leaves    departure = "it has closed"
	drained   departure = "it has left" // and executes nothing that it has not answered
	retired   departure = "it has drained and is silent"
)

// drop forgets a member: its commands, the calls that wait on it, and what is executed for it. f.mu is held.
func (f *Fleet) drop(m *member, why departure, fx *effects) {
	delete(f.members, m.id)
	delete(f.sessions, m.session)
	delete(f.observed, m)
	f.unmark(m)
	f.changedAt = time.Now()
	switch why {
	case leaves, drained:
		f.leftNow(m.session, false)
	case retired:
		f.leftNow(m.session, true)
	case lapsed:
		f.miss(m.session)
	}
	f.unserveAll(m)
	if k := m.kind; k != nil {
		delete(k.claims, m)
		m.kind = nil
		f.release(k)
	}
	f.tellNews()
	for _, s := range m.serving {
		delete(f.serving, s.id)
		fx.deliver(bus.Envelope{Type: bus.Cancel, Thread: s.id})
		if why == lapsed { // it may only have been paused
			f.answer(m, s.callerID, disconnected(f.opts.Channel))
		}
	}
	f.settleIdle()
	waiting := m.calls
	m.calls = nil
	for _, c := range waiting {
		if why == lapsed {
			f.post(m, &letter{envelope: bus.Envelope{Type: bus.Cancel, Thread: c.letter.envelope.ID}})
		}
		f.reroute(c, disconnected(f.opts.Channel), why == drained, fx)
	}
	if m.box != nil {
		m.box.close(func(it *outItem) bool { return why == lapsed && it.call == nil })
		delete(f.boxes, m)
	}
	for id, fl := range f.flushes {
		f.flushedBy(id, fl, m.process, fx)
	}
	f.excuse(m)
	if f.guide.session == m.session {
		f.guide = guide{}
	}
	fx.log(func() {
		f.log.Info("process left", "id", m.id, "session", m.session, "why", string(why), "calls", len(waiting))
	})
}

// departed is how a session has gone. One that has only drained may still have something to say.
type departed struct {
	at      time.Time
	drained bool
}

// leftNow notes that a session has said goodbye, so that nothing of it that is still on its way brings it back. f.mu is held.
func (f *Fleet) leftNow(session string, drained bool) {
	if len(f.left) >= maxLeft {
		for other := range f.left { // any
			delete(f.left, other)
			break
		}
	}
	f.left[session] = departed{time.Now(), drained}
}

// maxLeft bounds the sessions that are remembered because they have said goodbye, and those because they were not heard of.
const maxLeft = 4096

// miss notes a session that was not heard of for its lease: one that was paused, or cut off, is known when it comes back. f.mu is held.
func (f *Fleet) miss(session string) {
	if len(f.lost) >= maxLeft {
		for other := range f.lost { // any
			delete(f.lost, other)
			break
		}
	}
	f.lost[session] = time.Now()
}

// serve notes that m executes the command, and reports whether there was room for it. f.mu is held.
func (f *Fleet) serve(m *member, def bus.Definition) bool {
	s := f.services[def.ID]
	if s == nil {
		if def.Durable && !f.roomForQueue() {
			return false
		}
		s = &service{def: def, places: make(map[*member]place)}
		f.services[def.ID] = s
		f.dirty[def.ID] = true
	}
	if !same(&s.def, &def) {
		s.def = def
		f.dirty[def.ID] = true
	}
	s.add(m, def.Durable)
	delete(f.idleQueues, def.ID)
	if def.Durable {
		f.durables[def.ID] = true
	}
	return true
}

// unserve notes that m does not execute it any more. f.mu is held.
func (f *Fleet) unserve(m *member, id string) {
	s := f.services[id]
	if s == nil {
		return
	}
	if _, there := s.places[m]; !there {
		return
	}
	s.remove(m)
	switch n := len(s.servers); {
	case n == 0 && !s.def.Durable: // else its requests wait for the next one
		f.unlist(id)
	case n == 0:
		f.idleQueues[id] = true
	case !slices.ContainsFunc(s.servers, func(o *member) bool { def := o.shown.commands[id]; return same(&def, &s.def) }):
		s.def = s.servers[n-1].shown.commands[id] // what only m has said goes with it: that it is durable, say
		f.dirty[id] = true
	}
}

// unlist forgets a command that no process executes. f.mu is held.
func (f *Fleet) unlist(id string) {
	delete(f.services, id)
	delete(f.durables, id)
	delete(f.idleQueues, id)
	f.dirty[id] = true
}

// maxDurable bounds the durable commands of others that are known, also those that no process executes now.
const maxDurable = 4096

// roomForQueue makes room for one durable command more: at the bound one goes that no process executes. f.mu is held.
func (f *Fleet) roomForQueue() bool {
	if len(f.durables) < maxDurable {
		return true
	}
	for id := range f.idleQueues {
		if f.outlets[id] == nil { // or requests may wait
			f.unlist(id)
			return true
		}
	}
	return false
}

// unserveAll notes that m executes nothing any more, and listens to nothing. f.mu is held.
func (f *Fleet) unserveAll(m *member) {
	k := m.shown
	if k == nil {
		return
	}
	for id := range k.commands {
		f.unserve(m, id)
	}
	for in := range k.seats {
		f.unseat(m, in)
	}
	f.show(m, nil)
	f.release(k)
}

// same reports whether two definitions say the same.
func same(a, b *bus.Definition) bool {
	if a.Description != b.Description || a.Durable != b.Durable || (a.Schema == nil) != (b.Schema == nil) {
		return false
	}
	return a.Schema == nil || string(a.Schema.Request) == string(b.Schema.Request) && string(a.Schema.Response) == string(b.Schema.Response)
}

// Member is another process of a fleet, as this one sees it.
type Member struct {
	ID          string
	Session     string        // begins anew each time that the process does
	Commands    []string      // that it executes, sorted
	Groups      []string      // that it has listeners of, sorted; see events.ListenOptions
	Outstanding int           // requests of this process's that it has not answered
	Heard       time.Time     // when it was heard of last; in a large fleet, and without calls, that may be long ago
	ClockOffset time.Duration // how far its clock is ahead of this process's; 0 before it was measured
	Lease       time.Duration // its Options.Lease
	Wire        int           // the version of the fleet's wire that it speaks; 0 before the first
	// Incompatible is whether this process and that one speak no common version. It is not called then.
	Incompatible bool
}

// Members returns the processes that are known to be alive, without this one and those that are leaving, sorted by ID.
func (f *Fleet) Members() []Member {
	f.mu.Lock()
	all := make([]Member, 0, len(f.members))
	for _, m := range f.members {
		if !m.draining && !m.closing {
			all = append(all, m.info())
		}
	}
	f.mu.Unlock()
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// info is the member as users see it. f.mu is held.
func (m *member) info() Member {
	i := Member{ID: m.id, Session: m.session, Outstanding: len(m.calls), Heard: m.heard, ClockOffset: m.clock.offset, Lease: m.lease,
		Wire: int(m.wire), Incompatible: m.foreign}
	if k := m.shown; k != nil {
		i.Commands = make([]string, 0, len(k.commands))
		for id := range k.commands {
			if !m.without[id] {
				i.Commands = append(i.Commands, id)
			}
		}
		slices.Sort(i.Commands)
		i.Groups = make([]string, 0, len(k.seats))
		for in := range k.seats {
			i.Groups = append(i.Groups, in.Group)
		}
		slices.Sort(i.Groups)
		i.Groups = slices.Compact(i.Groups)
	}
	return i
}

// boxOf is the outbox to a member's inbox. f.mu is held.
func (f *Fleet) boxOf(m *member) *outbox {
	if m.box == nil {
		m.box = f.newOutbox(f.inboxTopic(m.id), f.bundles)
		f.boxes[m] = true
		if f.members[m.id] != m || f.err != nil { // nobody would close it later
			m.box.close(func(*outItem) bool { return true })
			delete(f.boxes, m)
		}
	}
	m.used = time.Now()
	return m.box
}

// restBoxes ends the outboxes that have not been used for long. f.mu is held.
func (f *Fleet) restBoxes(now time.Time) {
	for m := range f.boxes {
		if len(m.calls)+len(m.serving) == 0 && now.Sub(m.used) > boxRest*f.opts.Lease && m.box.len() == 0 {
			m.box.close(func(*outItem) bool { return true })
			m.box = nil
			delete(f.boxes, m)
		}
	}
}

// boxRest is how many leases an outbox stays that is not used.
const boxRest = 5
