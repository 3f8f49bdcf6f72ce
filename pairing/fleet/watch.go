package fleet

import (
	"math/rand/v2"
	"slices"
	"time"
)

// How a process that has gone is noticed. Each process sends a ping to one random member in each twelfth of a lease, so that each
// gets about as many; a few know each other all the time. One that does not answer for half its lease is suspected, which all are
// told; it answers that to all, or is gone half a lease later. A process that waits for another one, or serves it, does not
// wait for that: it sends pings itself, and takes the other one to be gone a lease after it was heard of last.

// watch is whether a member is there. Guarded by Fleet.mu.
type watch struct {
	since     time.Time // from then on it is looked after; zero: it is not
	pinged    time.Time // the last ping
	stamps    [4]int64  // of the last pings
	pong      time.Time // the last answer to one
	probing   time.Time // a ping that has to be answered by anything; zero: none
	suspected time.Time // others have said that it does not answer; zero: they have not
	said      bool      // this process has said so
	drained   time.Time // when it was asked to confirm that this process leaves
}

// ping asks a member for an answer. f.mu is held.
func (f *Fleet) ping(m *member) {
	l := &letter{kind: kindPing, digest: int64(f.digest())}
	f.introduce(l)
	f.aside(m, l)
	w := &m.watch
	copy(w.stamps[1:], w.stamps[:3])
	w.stamps[0], w.pinged = l.sent, time.Now()
}

// ponged takes an answer to a ping. f.mu is held.
func (f *Fleet) ponged(m *member, l *letter, fx *effects) {
	if l.echo == 0 || !slices.Contains(m.watch.stamps[:], l.echo) {
		return
	}
	m.watch.pong = time.Now()
	f.connected()
	m.clock.observe(l.echo, l.sent, f.stamp(), f.opts.Lease)
	f.mayStay(m, l, fx)
	f.confirmedBy(m, l, fx)
	f.differs(m, l.digest)
}

// observe looks after a member from the next tick on. f.mu is held.
func (f *Fleet) observe(m *member) {
	if f.members[m.id] == m {
		f.observed[m] = true
	}
}

// busy reports whether there is anything between this process and the member.
func (m *member) busy() bool { return len(m.calls)+len(m.serving) > 0 }

// span is how long a member may be silent: not less than this process can tell.
func (f *Fleet) span(m *member) time.Duration { return max(m.lease, f.opts.Lease/3) }

// engage looks after a member from now on, since there is something between this process and it. f.mu is held.
func (f *Fleet) engage(m *member) {
	if f.observed[m] && !m.watch.since.IsZero() {
		return
	}
	now := time.Now()
	m.watch.since, m.watch.pong = now, later(m.heard, m.watch.pong)
	f.observe(m)
	if now.Sub(m.watch.pong) > f.span(m)/4 && now.Sub(m.watch.pinged) > f.span(m)/4 {
		f.ping(m)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// lookAt looks after one member, and returns why it is gone if it is. f.mu is held.
func (f *Fleet) lookAt(m *member, now time.Time, few bool) (why departure) {
	w, span := &m.watch, f.span(m)
	if w.since.IsZero() {
		w.since = now
	}
	silent := now.Sub(later(m.heard, w.since))
	if m.wire == 0 || m.draining || m.closing {
		return f.lookAtLeaver(m, now, silent)
	}
	if !m.heard.Before(w.probing) {
		w.probing, w.said = time.Time{}, false
	}
	if !m.heard.Before(w.suspected) {
		w.suspected = time.Time{}
	}
	if m.inquiry != nil && (m.inquiry.due || !m.inquiry.sent.IsZero()) {
		f.inquireAgain(m, now)
	} else if (m.telling == nil || !m.telling.due) && !few && !m.busy() && w.probing.IsZero() && w.suspected.IsZero() {
		w.since = time.Time{}
		delete(f.observed, m)
		return ""
	}
	if m.telling != nil && m.telling.due {
		f.tell(m, m.telling.echo)
	}
	switch {
	case silent >= span:
		return lapsed
	case !w.suspected.IsZero() && !m.busy() && now.Sub(w.suspected) >= span/2:
		return lapsed
	case silent >= span/2 && !few && !w.said && w.suspected.IsZero():
		w.said = true
		f.suspects = append(f.suspects, m.session)
	}
	last := m.heard
	if m.busy() {
		last = later(w.pong, w.since.Add(-span/4))
	}
	if now.Sub(last) >= span/4 && now.Sub(w.pinged) >= span/6 {
		f.ping(m)
	}
	return ""
}

// inquireAgain asks a member what its version is, if that is due or was not answered. f.mu is held.
func (f *Fleet) inquireAgain(m *member, now time.Time) {
	q := m.inquiry
	if lost := !q.sent.IsZero() && now.Sub(q.sent) >= f.opts.Lease/3; !lost && !q.due {
		return
	}
	q.sent = time.Time{}
	f.inquire(m)
}

// lookAtLeaver looks after a member that is about to go, or that this process cannot talk to. f.mu is held.
func (f *Fleet) lookAtLeaver(m *member, now time.Time, silent time.Duration) departure {
	span := f.span(m)
	switch {
	case m.wire == 0: // of a time when each said all the time that it was there
		if silent >= 3*span {
			return retired
		}
		return ""
	case m.closing:
		if silent >= span/4 {
			return leaves
		}
	case m.busy():
		if silent >= span {
			return lapsed
		}
	case silent >= span/2:
		return retired // without a word: it has said what it had to say
	default:
		return ""
	}
	if now.Sub(m.watch.pinged) >= span/ticks {
		f.ping(m)
	}
	return ""
}

// suspectHere looks after a member that another process says is gone, or that it does not know. f.mu is held.
func (f *Fleet) suspectHere(m *member) {
	if !m.watch.probing.IsZero() || m.foreign {
		return
	}
	now := time.Now()
	if m.watch.probing = now; m.watch.since.IsZero() {
		m.watch.since = now
	}
	f.observe(m)
	f.ping(m)
}

// suspected takes what another process suspects. f.mu is held.
func (f *Fleet) suspected(l *letter) {
	for _, session := range l.notice.Suspect {
		if session == f.self.session {
			f.correct()
		}
		if m := f.sessions[session]; m != nil && m.watch.suspected.IsZero() {
			m.watch.suspected = time.Now()
			f.observe(m)
		}
	}
}

// probeNext sends a ping to the next member, in an order that is random and new each time. f.mu is held.
func (f *Fleet) probeNext(now time.Time) {
	for range crowd {
		if f.turn >= len(f.ring) {
			f.ring = slices.DeleteFunc(f.ring, func(m *member) bool { return f.members[m.id] != m })
			rand.Shuffle(len(f.ring), func(i, j int) { f.ring[i], f.ring[j] = f.ring[j], f.ring[i] })
			f.turn = 0
		}
		if len(f.ring) == 0 {
			return
		}
		m := f.ring[f.turn]
		f.turn++
		if f.members[m.id] == m && !m.draining && !m.closing && !m.foreign && now.Sub(m.heard) > f.span(m)/3 {
			f.suspectHere(m)
			return
		}
	}
}

// lookAround looks after the members, and drops who is gone. Those who go at once first serve nothing any more: no call of one is
// sent to the other. f.mu is held.
func (f *Fleet) lookAround(now time.Time, fx *effects) {
	few := len(f.members) <= crowd
	gone := make(map[*member]departure)
	look := func(m *member) {
		if why := f.lookAt(m, now, few); why != "" {
			gone[m] = why
			f.unserveAll(m)
		}
	}
	if few {
		for _, m := range f.members {
			look(m)
		}
	} else {
		for m := range f.observed {
			look(m)
		}
		f.probeNext(now)
	}
	for m, why := range gone {
		f.drop(m, why, fx)
	}
	f.raise()
}

// raise tells the others what this process suspects, unless it may itself be the one that is cut off. f.mu is held.
func (f *Fleet) raise() {
	if len(f.suspects) > 0 && !f.inDoubt() {
		for some := range slices.Chunk(f.suspects, maxWelcomes) {
			f.announce(kindSuspect, notice{Suspect: some})
		}
	}
	f.suspects = nil
}
