package pairing

import (
	"crypto/sha256"
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
	lease    time.Duration             // how long it may be silent: as it has said, before that as long as this process
	inquiry  inquiry                   // how it is asked for its list
	telling  telling                   // how it is told this process's
	version  int64                     // of commands; 0 before the first list
	reached  time.Time                 // when version was reached
	change   [sha256.Size]byte         // the hash of the change that has led there; zero: a list has
	wanted   int64                     // the version that it is said to have
	wantedAt time.Time                 // when that was said
	ahead    map[int64]later           // changes that do not follow on version yet, by theirs
	list     *partial                  // a list that is not complete; may be nil
	commands map[string]bus.Definition // what it executes
	seats    interests                 // the groups that it has listeners of
	wild     int                       // of these: patterns with wildcards
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
	def     bus.Definition  // as it was announced last by one of the servers
	servers []*member       // at least one, unless it is durable
	places  map[*member]int // of the servers
	takers  int             // of the servers: those that take requests from the queue
}

// add and remove change the servers, at a cost that does not depend on how many there are.
func (s *service) add(m *member) {
	if _, there := s.places[m]; !there {
		s.places[m] = len(s.servers)
		s.servers = append(s.servers, m)
	}
}

func (s *service) remove(m *member) {
	i, there := s.places[m]
	if !there {
		return
	}
	last := len(s.servers) - 1
	s.servers[i] = s.servers[last]
	s.places[s.servers[i]] = i
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
)

// drop forgets a member: its commands, the calls that wait on it, and what is executed for it. f.mu is held.
func (f *Fleet) drop(m *member, why departure, fx *effects) {
	delete(f.members, m.id)
	if why == leaves || why == drained {
		f.leftNow(m.session)
	}
	f.forgetLists(m)
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

// leftNow notes that a session has said goodbye, so that nothing of it that is still on its way brings it back. f.mu is held.
func (f *Fleet) leftNow(session string) {
	if len(f.left) >= maxLeft {
		for other := range f.left { // any
			delete(f.left, other)
			break
		}
	}
	f.left[session] = time.Now()
}

// maxLeft bounds the sessions that are remembered because they have said goodbye.
const maxLeft = 4096

// serve notes that m executes the command, and reports whether there was room for it. f.mu is held.
func (f *Fleet) serve(m *member, def bus.Definition) bool {
	old, known := m.commands[def.ID]
	more := int64(sizeOf(&def))
	if known {
		more -= int64(sizeOf(&old))
	}
	if !known && len(m.commands) >= maxCommands || more > 0 && f.kept+more > maxKnown {
		return false
	}
	s := f.services[def.ID]
	if s == nil {
		if def.Durable && !f.roomForQueue() {
			return false
		}
		s = &service{def: def, places: make(map[*member]int)}
		f.services[def.ID] = s
		f.dirty[def.ID] = true
	}
	f.kept += more
	s.takes(old, -1)
	s.takes(def, 1)
	m.commands[def.ID] = def
	if !same(&s.def, &def) {
		s.def = def
		f.dirty[def.ID] = true
	}
	s.add(m)
	delete(f.idleQueues, def.ID)
	if def.Durable {
		f.durables[def.ID] = true
	}
	return true
}

// unserve notes that m does not execute it any more. f.mu is held.
func (f *Fleet) unserve(m *member, id string) {
	old, known := m.commands[id]
	if !known {
		return
	}
	delete(m.commands, id)
	f.kept -= int64(sizeOf(&old))
	s := f.services[id]
	if s == nil {
		return
	}
	s.takes(old, -1)
	s.remove(m)
	switch n := len(s.servers); {
	case n == 0 && !s.def.Durable: // else its requests wait for the next one
		f.unlist(id)
	case n == 0:
		f.idleQueues[id] = true
	case !slices.ContainsFunc(s.servers, func(o *member) bool { def := o.commands[id]; return same(&def, &s.def) }):
		s.def = s.servers[n-1].commands[id] // what only m has said goes with it: that it is durable, say
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
	all := make([]Member, 0, len(f.members))
	for _, m := range f.members {
		all = append(all, Member{ID: m.id, Session: m.session, Commands: slices.Collect(maps.Keys(m.commands)), Groups: m.groups(),
			Outstanding: len(m.calls), Heard: m.heard, ClockOffset: m.clock.offset})
	}
	f.mu.Unlock()
	for _, m := range all {
		slices.Sort(m.Commands)
	}
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return all
}
