package pairing

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/leatbus/leat/bus"
)

// How processes get to know each other. A name that is heard of is not a process yet: any publisher may have written it. One becomes
// a member when it addresses this life of this process, which it can only do after it has heard of it: before that it costs a
// place in a bounded set, and no goroutine, no memory that stays and nothing on the broker. The set goes out with the next beat,
// which says to those in it that they have been heard of. The answer is addressed.

// notice is the body of a beat.
type notice struct {
	Welcome []string `json:"welcome,omitempty"` // sessions that the sender has heard of and does not know
}

const (
	// maxWelcomes bounds the sessions that one beat welcomes. Of more, any are left for the next.
	maxWelcomes = 256
	// promptWelcomes is how many beats are sent at once for a process that has come, between two ticks of the keeper; others
	// wait for the tick.
	promptWelcomes = 32
	// maxNotice bounds the body of a beat that is read, in bytes.
	maxNotice = 64 << 10
)

// readNotice looks at a beat: does its sender know this life?
func (l *letter) readNotice(self string) error {
	if len(l.body) == 0 {
		return nil
	}
	if len(l.body) > maxNotice {
		return fmt.Errorf("beat with %d bytes", len(l.body))
	}
	var n notice
	if err := json.Unmarshal(l.body, &n); err != nil {
		return fmt.Errorf("beat: %w", err)
	}
	l.names = slices.Contains(n.Welcome, self)
	l.body = nil
	return nil
}

// welcome notes a session that was heard of and is not known. f.mu is held.
func (f *Fleet) welcome(session string) {
	if f.welcomes[session] || f.err != nil {
		return
	}
	if len(f.welcomes) >= maxWelcomes {
		for other := range f.welcomes { // any: no flood of names can keep all others out
			delete(f.welcomes, other)
			break
		}
	}
	f.welcomes[session] = true
	if f.prompted < promptWelcomes {
		f.prompted++
		f.beat()
	}
}

// beat says that this process is there, and welcomes those it has heard of. f.mu is held.
func (f *Fleet) beat() {
	l := &letter{kind: kindBeat, version: f.version, gaps: f.gaps, lease: f.ownLease()}
	if len(f.welcomes) > 0 {
		var n notice
		for session := range f.welcomes {
			n.Welcome = append(n.Welcome, session)
		}
		clear(f.welcomes)
		l.body = encode(n)
	}
	f.mail(f.discovery, outItem{letter: l})
}

// memberOf returns the member that sent l; nil if this life of a process is not one. f.mu is held.
func (f *Fleet) memberOf(l *letter) *member {
	m := f.members[l.id]
	if m == nil || m.session != l.session {
		f.count.stale.Add(1)
		return nil
	}
	m.heard = time.Now()
	return m
}

// meet returns the member that sent l, which is one from now on if it says that it knows this life. Nil if it does not; if l is
// from an earlier life of a process, or from one that has gone; or if there are too many. f.mu is held.
func (f *Fleet) meet(l *letter, fx *effects) *member {
	m := f.members[l.id]
	switch _, gone := f.left[l.session]; {
	case m != nil && m.session == l.session:
		m.heard = time.Now()
		return m
	case gone || f.err != nil || m != nil && !f.succeeds(l, m):
		f.count.stale.Add(1)
		return nil
	case l.id == f.self.id:
		f.twin(l, fx)
		return nil
	case !l.names:
		f.welcome(l.session)
		return nil
	case m == nil && len(f.members) >= f.opts.MaxMembers:
		if n := f.count.refused.Add(1); n&(n-1) == 0 {
			fx.log(func() { f.log.Warn("process refused, the fleet has MaxMembers", "id", l.id, "refused", n) })
		}
		return nil
	}
	if m != nil {
		f.drop(m, restarted, fx)
	}
	m = &member{
		process: l.process, box: f.newOutbox(f.inboxTopic(l.id), f.bundles), heard: time.Now(), gaps: -1, lease: f.opts.Lease,
		commands: make(map[string]bus.Definition), seats: make(interests), calls: make(map[string]*call), serving: make(map[string]*served),
	}
	f.members[l.id] = m
	fx.log(func() { f.log.Info("process joined", "id", m.id, "session", m.session) })
	f.ask(m)
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

// twin handles a message from another process with this one's ID: the younger of the two stays, if it is there. It is asked by a
// beat that welcomes it: one message that may be forged ends nothing. f.mu is held.
func (f *Fleet) twin(l *letter, fx *effects) {
	session := l.session
	switch {
	case !newer(session, f.self.session): // of an earlier life of this one, or of one that is about to notice
		f.count.stale.Add(1)
		if l.names {
			f.welcome(session) // it asks
		}
	case !f.later(session, f.self.session, 0, false):
		if n := f.count.stale.Add(1); n&(n-1) == 0 {
			fx.log(func() {
				f.log.Error("ignoring a message under this process's ID: its session has not begun yet", "session", session)
			})
		}
	case !l.names:
		if f.doubled != session {
			f.doubled = session
			fx.log(func() {
				f.log.Warn("another process may have begun under this ID, asking it", "session", session)
			})
		}
		f.welcome(session)
	default:
		fx.log(func() {
			f.log.Error("another process has begun under this ID, closing this fleet", "session", session)
			go func() { _ = f.end(fmt.Errorf("fleet %q, process %q: %w", f.opts.Namespace, f.self.id, errTwin)) }()
		})
	}
}
