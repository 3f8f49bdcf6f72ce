package pairing

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/leatbus/leat/bus"
)

// member is another process, as this one sees it. All of it is guarded by Fleet.mu.
type member struct {
	process
	box      *outbox
	heard    time.Time                 // when it was heard of last
	asked    time.Time                 // when its list was asked for; zero when that has come
	version  int64                     // of commands; 0 before the first list
	wanted   int64                     // the version that it is known to have
	commands map[string]bus.Definition // what it executes
	seats    interests                 // the groups that it has listeners of
	parts    map[int][]byte            // of a list that is not complete
	partsOf  int64                     // their version
	calls    map[string]*call          // requests that wait for its answer, by ID
	serving  map[string]*served        // requests of its that are not answered, by its ID
	gaps     int64                     // of its inbox, as it has said; -1 before that
	clock    clock
	doubted  time.Time // when it was last doubted
	owed     string    // its marker that is not answered yet; else empty
	owedFor  int64     // the version that has to be known first
}

// service is a command that others execute.
type service struct {
	def     bus.Definition // as it was announced last by one of the servers
	servers []*member      // at least one, unless it is durable
	takers  int            // of the servers: those that take requests from the queue
}

// meet returns the member that sent l, which is one from now on; nil if l is from an earlier life of a process, or
// from one that has gone. f.mu is held.
func (f *Fleet) meet(l *letter, fx *effects) *member {
	m := f.members[l.id]
	if m != nil && m.session == l.session {
		m.heard = time.Now()
		return m
	}
	if _, gone := f.left[l.session]; gone || f.err != nil || m != nil && !newer(l.session, m.session) {
		f.count.stale.Add(1)
		return nil
	}
	if l.id == f.self.id {
		f.twin(l, fx)
		return nil
	}
	if m != nil {
		f.drop(m, restarted, fx)
	}
	m = &member{
		process: l.process, box: f.newOutbox(f.inboxTopic(l.id), f.bundles), heard: time.Now(), gaps: -1,
		commands: make(map[string]bus.Definition), seats: make(interests), calls: make(map[string]*call), serving: make(map[string]*served),
	}
	f.members[l.id] = m
	fx.log(func() { f.log.Info("process joined", "id", l.id, "session", l.session) })
	f.ask(m)
	return m
}

// departure is why a member is dropped.
type departure string

const (
	restarted departure = "it was restarted"
	lapsed    departure = "it was not heard of for its lease"
	leaves    departure = "it has closed"
	drained   departure = "it has left" // and executes nothing that it has not answered
)

// drop forgets a member: its commands, the calls that wait on it, and what is executed for it. f.mu is held.
func (f *Fleet) drop(m *member, why departure, fx *effects) {
	delete(f.members, m.id)
	if why == leaves || why == drained {
		f.left[m.session] = time.Now()
	}
	f.unserveAll(m)
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
	m.box.close(func(it *outItem) bool { return why == lapsed && it.call == nil })
	for id, fl := range f.flushes {
		f.flushedBy(id, fl, m.process, fx)
	}
	fx.log(func() {
		f.log.Info("process left", "id", m.id, "session", m.session, "why", string(why), "calls", len(waiting))
	})
}

// serve notes that m executes the command. f.mu is held.
func (f *Fleet) serve(m *member, def bus.Definition) {
	s := f.services[def.ID]
	if s == nil {
		s = &service{def: def}
		f.services[def.ID] = s
		f.dirty[def.ID] = true
	}
	s.takes(m.commands[def.ID], -1)
	s.takes(def, 1)
	m.commands[def.ID] = def
	if !same(&s.def, &def) {
		s.def = def
		f.dirty[def.ID] = true
	}
	if !slices.Contains(s.servers, m) {
		s.servers = append(slices.Clip(s.servers), m)
	}
}

// unserve notes that m does not execute it any more. f.mu is held.
func (f *Fleet) unserve(m *member, id string) {
	old := m.commands[id]
	delete(m.commands, id)
	s := f.services[id]
	if s == nil {
		return
	}
	s.takes(old, -1)
	s.servers = slices.DeleteFunc(slices.Clone(s.servers), func(o *member) bool { return o == m })
	switch n := len(s.servers); {
	case n == 0 && !s.def.Durable: // else its requests wait for the next one
		delete(f.services, id)
		f.dirty[id] = true
	case n > 0 && !slices.ContainsFunc(s.servers, func(o *member) bool { def := o.commands[id]; return same(&def, &s.def) }):
		s.def = s.servers[n-1].commands[id] // what only m has said goes with it: that it is durable, say
		f.dirty[id] = true
	}
}

// unserveAll notes that m executes nothing any more, and listens to nothing. f.mu is held.
func (f *Fleet) unserveAll(m *member) {
	for id := range m.commands {
		f.unserve(m, id)
	}
	f.seat(m, catalogue{Clear: true})
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
	Heard       time.Time     // when it was heard of last
	ClockOffset time.Duration // how far its clock is ahead of this process's; 0 before it was measured
}

// Members returns the processes that are known to be alive, without this one, sorted by ID.
func (f *Fleet) Members() []Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Member, 0, len(f.members))
	for _, m := range f.members {
		all = append(all, Member{ID: m.id, Session: m.session, Commands: slices.Sorted(maps.Keys(m.commands)), Groups: m.groups(),
			Outstanding: len(m.calls), Heard: m.heard, ClockOffset: m.clock.offset})
	}
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return all
}
