package fleet

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// How processes get to know each other. One that begins says hello to all. A few of the others, each after a random short
// while and unless another one has been quicker, answer with a beat that names it: the beat welcomes all that were heard of
// meanwhile. It asks the first of them which processes there are, and says hello again, naming that one: from then on
// it is known to all.
//
// A name that is heard of is not a process yet: any publisher may have written it. It becomes a member when it names a life of a
// process that is here, which it can only do after it has heard of it: before that it costs a place in a bounded set, and
// no goroutine, no memory that stays and nothing on the broker. As a member it is a record, and has no goroutine and nothing on
// the broker until there is something to be sent to it.

// notice is the body of a hello, a beat, or a suspicion.
type notice struct {
	Welcome []string `json:"welcome,omitempty"` // sessions that the sender has heard of and does not know
	Knows   []string `json:"knows,omitempty"`   // sessions that the sender knows
	Suspect []string `json:"suspect,omitempty"` // sessions that have not answered the sender
	Size    int      `json:"size,omitempty"`    // how many processes the sender knows
}

const (
	// crowd is the number of members up to which all of them answer, and watch each other.
	crowd = 8
	// maxWelcomes bounds the sessions that one beat welcomes. Of more, any are left for the next.
	maxWelcomes = 256
	// promptWelcomes is how many beats are sent at once for a process that has come, between two ticks of the keeper; others
	// wait for the tick.
	promptWelcomes = 32
	// maxKnows bounds the sessions that a hello names.
	maxKnows = 8
	// maxNotice bounds the body of a notice that is read, in bytes.
	maxNotice = 64 << 10
	// maxWelcomeWait is how long a process of a crowd waits at most before it welcomes others.
	maxWelcomeWait = 250 * time.Millisecond
)

// readNotice reads the body of a hello, beat or suspicion: does its sender know this life?
func (l *letter) readNotice(self string) error {
	if len(l.body) == 0 {
		return nil
	}
	if len(l.body) > maxNotice {
		return fmt.Errorf("%s with %d bytes", l.kind, len(l.body))
	}
	if err := json.Unmarshal(l.body, &l.notice); err != nil {
		return fmt.Errorf("%s: %w", l.kind, err)
	}
	l.names = slices.Contains(l.notice.Welcome, self) || slices.Contains(l.notice.Knows, self)
	l.body = nil
	return nil
}

// welcome notes a session that was heard of and is not known. f.mu is held.
func (f *Fleet) welcome(session string) {
	if f.welcomes[session] || f.err != nil || !f.isReady() {
		return
	}
	n := len(f.members)
	if n > crowd && rand.IntN(n) >= crowd { // others do it
		return
	}
	if len(f.welcomes) >= maxWelcomes {
		for other := range f.welcomes { // any: no flood of names can keep all others out
			delete(f.welcomes, other)
			break
		}
	}
	f.welcomes[session] = true
	switch {
	case n <= crowd:
		if f.prompted < promptWelcomes && (f.joined || f.prompted == 0) {
			f.prompted++
			f.beat()
		}
	case f.welcoming == nil:
		wait := time.Duration(rand.Int64N(int64(min(f.opts.Lease/ticks, maxWelcomeWait))))
		f.welcoming = time.AfterFunc(wait, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.welcoming = nil; f.err == nil && len(f.welcomes) > 0 {
				f.beat()
			}
		})
	}
}

// beat says that this process is there, and welcomes those it has heard of. f.mu is held.
func (f *Fleet) beat() {
	var n notice
	for session := range f.welcomes {
		n.Welcome = append(n.Welcome, session)
	}
	clear(f.welcomes)
	f.announce(kindBeat, n)
}

// announce says to all that this process is there. f.mu is held.
func (f *Fleet) announce(kind string, n notice) {
	n.Size = len(f.members)
	l := &letter{kind: kind, age: max(1, time.Since(f.began).Microseconds()), body: encode(n)}
	f.introduce(l)
	f.mail(f.discovery, outItem{letter: l})
}

// hello says to all that this process is there, and wants to be known. f.mu is held.
func (f *Fleet) hello() {
	var n notice
	for session := range f.sessions { // any
		if n.Knows = append(n.Knows, session); len(n.Knows) == maxKnows {
			break
		}
	}
	f.greeted, f.helloSize = time.Now(), len(f.members)
	f.announce(kindHello, n)
}

// memberOf returns the member that sent l; nil if this life of a process is not one. f.mu is held.
func (f *Fleet) memberOf(l *letter) *member {
	m := f.members[l.id]
	if m == nil || m.session != l.session {
		f.count.stale.Add(1)
		return nil
	}
	f.hear(m, l)
	return m
}

// hear notes that a member is there. f.mu is held.
func (f *Fleet) hear(m *member, l *letter) {
	m.heard = time.Now()
	m.clock.hear(l.sent, f.stamp())
	m.tells(l.lease)
}

// proven reports whether the sender of a letter is a process that hears others. f.mu is held.
func (f *Fleet) proven(l *letter) bool {
	if _, lost := f.lost[l.session]; lost || l.names {
		return true
	}
	return slices.ContainsFunc(l.notice.Knows, func(session string) bool { return f.sessions[session] != nil })
}

// meet returns the member that sent l, which is one from now on if it has proved that it is there. Nil if it has not; if l is
// from an earlier life of a process, or from one that has gone; or if there are too many. f.mu is held.
func (f *Fleet) meet(l *letter, fx *effects) *member {
	m := f.members[l.id]
	gone, left := f.left[l.session]
	left = left && !(gone.drained && l.to != "")
	switch {
	case m != nil && m.session == l.session:
		f.hear(m, l)
		return m
	case left || f.err != nil || m != nil && !f.succeeds(l, m):
		f.count.stale.Add(1)
		return nil
	case l.id == f.self.id:
		f.twin(l, fx)
		return nil
	case !f.proven(l):
		if l.kind == kindHello && (!f.joined || f.guide.session != "") && len(f.deferred) < maxWelcomes {
			f.deferred = append(f.deferred, *l) // it may know one that the guide is about to tell of
		}
		if f.mayWelcome(l) {
			f.welcome(l.session)
		}
		return nil
	}
	wire, oldest := l.wire, l.oldest
	if l.kind == "" { // nothing else of it has come: it has read what this process says, and sends what that takes
		wire, oldest = wireVersion, 0
	}
	if m = f.admit(l.process, wire, oldest, fx); m == nil {
		return nil
	}
	f.hear(m, l)
	m.draining, m.drainOf, m.drainAt = gone.drained, l.sent, time.Now()
	switch {
	case m.foreign:
	case m.draining:
		f.post(m, &letter{kind: kindConfirm}) // so that it says if it is not about to leave
	case l.version == 0:
		f.inquire(m)
	case l.kind != kindChange:
		f.assign(m, l.version, l.hash, nil, fx)
	}
	if len(f.members) <= crowd && !m.foreign {
		f.ping(m) // for the clock, and so that it knows this one
	}
	return m
}

// mayWelcome reports whether the sender of a letter, which is not known, is to be welcomed. One that says that it knows others is
// only not known to a process that has not heard of all yet, unless it is of a part of the fleet that was lost. f.mu is held.
func (f *Fleet) mayWelcome(l *letter) bool {
	if l.kind == kindHello && len(l.notice.Knows) == 0 {
		return true
	}
	return f.joined && (len(f.members) <= crowd || time.Since(f.began) > f.opts.Lease)
}

// admit makes a process a member. Nil if there are too many. f.mu is held.
func (f *Fleet) admit(p process, wire, oldest int64, fx *effects) *member {
	if old := f.members[p.id]; old != nil {
		f.drop(old, restarted, fx)
	}
	if len(f.members) >= f.opts.MaxMembers {
		if n := f.count.refused.Add(1); n&(n-1) == 0 {
			fx.log(func() { f.log.Warn("process refused, the fleet has MaxMembers", "id", p.id, "refused", n) })
		}
		return nil
	}
	m := &member{process: p, heard: time.Now(), gaps: -1, lease: f.opts.Lease, wire: wire, foreign: !fits(wire, oldest)}
	f.members[p.id], f.sessions[p.session] = m, m
	delete(f.lost, p.session)
	delete(f.left, p.session)
	f.changedAt = time.Now()
	if m.foreign {
		f.count.incompatible.Add(1)
		fx.log(func() {
			f.log.Warn("process speaks another version of the fleet's wire, it is not called", "id", m.id, "wire", m.wire, "own", wireVersion)
		})
		f.observe(m)
	} else {
		f.ring = append(f.ring, m)
		fx.log(func() { f.log.Info("process joined", "id", m.id, "session", m.session) })
	}
	f.tellNews()
	return m
}

// A session may have begun so much later than it is, by its process's clock as it was measured, or else by this process's. One
// that has begun later still is not newer than any.
const (
	sessionTolerance        = time.Minute
	sessionToleranceUnknown = time.Hour
)

// succeeds reports whether l is from a later life of a member. f.mu is held.
func (f *Fleet) succeeds(l *letter, m *member) bool {
	return f.later(l.session, m.session, m.clock.offset, !m.clock.measured.IsZero())
}

// later reports whether a session is newer than another of the same process, and may be. ahead is how far that process's clock
// is, if it is known. f.mu is held.
func (f *Fleet) later(session, than string, ahead time.Duration, known bool) bool {
	tolerance := sessionToleranceUnknown
	if known {
		tolerance = ahead + sessionTolerance
	}
	return newer(session, than) && began(session) <= f.stamp()+tolerance.Microseconds()
}

// twin handles a message from another process with this one's ID: the one that has begun later stays, if it is there. It is asked by
// a beat that welcomes it: one message that may be forged ends nothing. Which has begun later is told by how long each has been
// there, since their clocks may differ; where that is about the same, by their sessions. f.mu is held.
func (f *Fleet) twin(l *letter, fx *effects) {
	session := l.session
	if !l.names {
		f.count.stale.Add(1)
		if f.doubled != session {
			f.doubled = session
			fx.log(func() {
				f.log.Warn("another process may have begun under this ID, asking it", "session", session)
			})
		}
		f.welcome(session)
		return
	}
	later := f.later(session, f.self.session, 0, false)
	if older := time.Since(f.began) - time.Duration(l.age)*time.Microsecond; l.age > 0 && older.Abs() > min(f.opts.Lease/ticks, twinTolerance) {
		later = older > 0
	}
	if !later { // it is about to notice
		f.count.stale.Add(1)
		f.welcome(session) // it asks
		return
	}
	fx.log(func() {
		f.log.Error("another process has begun under this ID, closing this fleet", "session", session)
		go func() { _ = f.end(fmt.Errorf("fleet %q, process %q: %w", f.opts.Namespace, f.self.id, errTwin)) }()
	})
}

// twinTolerance is by how much two processes of one ID have to differ in age for that to decide.
const twinTolerance = 500 * time.Millisecond
