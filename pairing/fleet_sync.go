package pairing

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/leatbus/leat/bus"
)

// What a process knows of another one's commands is a version. A change says what the next version has; a beat says which one
// there is. Where the two do not fit together the process asks for a list, and the list that answers its question is what
// counts: whatever else was said of versions before the question was wrong. Questions and lists have a pace.

// inquiry is how often a member is asked for its list, and which of its lists is the answer. Guarded by Fleet.mu.
type inquiry struct {
	sent  time.Time     // of the question that is not answered yet; zero: there is none
	stamp int64         // of that question: its answer echoes it
	next  time.Time     // no question before
	pause time.Duration // between the last question and the next
	due   bool          // there is one to be asked then
}

// may reports whether there may be a question now, and counts with it. Else it is due when it may.
func (q *inquiry) may(now time.Time, lease time.Duration) bool {
	if !q.sent.IsZero() {
		return false
	}
	if q.due = now.Before(q.next); q.due {
		return false
	}
	if now.Sub(q.next) > lease {
		q.pause = 0
	}
	q.pause = min(max(2*q.pause, lease/firstInquiry), lease)
	q.sent, q.next = now, now.Add(q.pause)
	return true
}

// lost reports whether a question has to be asked again, since it or its answer may be lost.
func (q *inquiry) lost(now time.Time, lease time.Duration) bool {
	return !q.sent.IsZero() && now.Sub(q.sent) >= lease/3
}

// firstInquiry is the part of a lease after which a second question may follow the first. The pause doubles, up to a lease.
const firstInquiry = 48

// ask asks a member for all its commands, now or as soon as it may. f.mu is held.
func (f *Fleet) ask(m *member) {
	if !m.inquiry.may(time.Now(), f.opts.Lease) {
		return
	}
	l := &letter{kind: kindAsk, lease: f.ownLease()}
	f.post(m, l)
	m.inquiry.stamp = l.sent
}

// partial is a list that is not complete. Guarded by Fleet.mu.
type partial struct {
	version, echo int64
	parts         int
	got           map[int]catalogue
	bytes         int64
}

// later is a change that does not follow on what is known, and may follow on the list that was asked for.
type later struct {
	what  catalogue
	sum   [sha256.Size]byte // of its body
	bytes int64
}

const (
	// maxAhead bounds the changes of a member that are kept until its list comes.
	maxAhead = 256
	// maxKnown bounds what is kept of the commands of all members, in bytes of their definitions; what is kept of lists that are not
	// complete, and of changes that are ahead, may be as much.
	maxKnown = 256 << 20
	// maxCommands bounds the commands of one member.
	maxCommands = 1 << 18
	// maxSeats bounds the groups and patterns of one member, maxWild those of them with wildcards, which each event is compared with.
	maxSeats = 1 << 15
	maxWild  = 1 << 10
	// maxNoticeBody bounds the body of a change, or of one part of a list, in bytes.
	maxNoticeBody = 32 << 20
)

// readCommands reads the body of a change or a list, before the lock is taken.
func (l *letter) readCommands() (err error) {
	if len(l.body) > maxNoticeBody {
		return fmt.Errorf("commands: %d bytes", len(l.body))
	}
	l.what, err = readCatalogue(l.body)
	return err
}

// possible reports whether a session can have come to a version: each takes a message.
func (f *Fleet) possible(version int64, session string) bool {
	const day = 24 * 60 * 60 * 1e6 // for clocks that differ
	age := max(0, f.stamp()-began(session))
	return version >= 0 && version <= age+day
}

// changed takes a change of a member's commands. One that does not follow on what is known makes this process ask for all. f.mu
// is held.
func (f *Fleet) changed(m *member, l *letter, fx *effects) {
	sum := sha256.Sum256(l.body)
	if l.version == m.version && m.change != sum && m.change != [sha256.Size]byte{} { // one of the two is not the member's
		f.ask(m)
	}
	if l.version <= m.version {
		return
	}
	if l.version > m.wanted {
		m.wanted, m.wantedAt = l.version, time.Now()
	}
	if l.version != m.version+1 || m.version == 0 {
		f.putOff(m, l, sum)
		f.ask(m)
		return
	}
	f.apply(m, l.what, fx)
	m.version, m.reached, m.change = l.version, time.Now(), sum
	f.catchUp(m, fx)
}

// putOff keeps a change that is ahead, if there is room: else the list that was asked for is asked for again. f.mu is held.
func (f *Fleet) putOff(m *member, l *letter, sum [sha256.Size]byte) {
	bytes := int64(len(l.body))
	if _, there := m.ahead[l.version]; there || len(m.ahead) >= maxAhead || f.waiting+bytes > maxKnown {
		return
	}
	if m.ahead == nil {
		m.ahead = make(map[int64]later)
	}
	m.ahead[l.version] = later{l.what, sum, bytes}
	f.waiting += bytes
}

// catchUp applies the changes that follow now. f.mu is held.
func (f *Fleet) catchUp(m *member, fx *effects) {
	for {
		next, there := m.ahead[m.version+1]
		if !there {
			break
		}
		m.version, m.reached, m.change = m.version+1, time.Now(), next.sum
		f.apply(m, next.what, fx)
	}
	for version := range m.ahead {
		if version <= m.version {
			f.forgetAhead(m, version)
		}
	}
	f.settleOwed(m)
}

func (f *Fleet) forgetAhead(m *member, version int64) {
	f.waiting -= m.ahead[version].bytes
	delete(m.ahead, version)
}

// forgetLists drops what waits for more of a member's lists. f.mu is held.
func (f *Fleet) forgetLists(m *member) {
	for version := range m.ahead {
		f.forgetAhead(m, version)
	}
	f.forgetPartial(m)
}

func (f *Fleet) forgetPartial(m *member) {
	if m.list != nil {
		f.waiting -= m.list.bytes
		m.list = nil
	}
}

// listed takes one part of a member's list. f.mu is held.
func (f *Fleet) listed(m *member, l *letter, fx *effects) error {
	answer := !m.inquiry.sent.IsZero() && l.echo != 0 && l.echo == m.inquiry.stamp
	if l.parts == 0 {
		return fmt.Errorf("a list without parts")
	}
	if !answer && l.version <= m.version {
		return nil
	}
	if answer && l.version < m.version && m.reached.After(m.inquiry.sent) { // it was on its way when a change came
		m.inquiry.sent = time.Time{}
		f.hasGaps(m, l.gaps, fx)
		return nil
	}
	if p := m.list; p == nil || p.version != l.version || p.echo != l.echo || p.parts != l.parts {
		if p != nil && p.echo == m.inquiry.stamp && !answer {
			return nil // the answer goes first
		}
		f.forgetPartial(m)
		m.list = &partial{version: l.version, echo: l.echo, parts: l.parts, got: make(map[int]catalogue)}
	}
	p := m.list
	if _, again := p.got[l.part]; again {
		return nil
	}
	bytes := int64(len(l.body))
	if f.waiting+bytes > maxKnown {
		f.forgetPartial(m)
		f.noRoom(fx, m, "lists that are not complete take too much")
		return nil
	}
	p.got[l.part] = l.what
	p.bytes += bytes
	f.waiting += bytes
	if len(p.got) == l.parts {
		f.complete(m, answer, l.gaps, fx)
	}
	return nil
}

// complete takes a list of which all parts are there. f.mu is held.
func (f *Fleet) complete(m *member, answer bool, gaps int64, fx *effects) {
	p := m.list
	all := catalogue{Clear: true}
	for _, i := range slices.Sorted(maps.Keys(p.got)) {
		all.Add, all.Join = append(all.Add, p.got[i].Add...), append(all.Join, p.got[i].Join...)
	}
	f.forgetPartial(m)
	m.version, m.reached, m.change = p.version, time.Now(), [sha256.Size]byte{}
	f.apply(m, all, fx)
	if answer {
		if !m.wantedAt.After(m.inquiry.sent) { // it was said before the question, and is not so
			m.wanted = m.version
			for version := range m.ahead {
				f.forgetAhead(m, version)
			}
		}
		m.inquiry.sent = time.Time{}
	}
	if answer || m.gaps < 0 {
		f.hasGaps(m, gaps, fx)
	}
	f.catchUp(m, fx)
	if m.wanted > m.version {
		f.ask(m)
	}
}

// apply changes what is known of a member's commands. f.mu is held.
func (f *Fleet) apply(m *member, what catalogue, fx *effects) {
	if what.Clear {
		kept := make(map[string]bool, len(what.Add))
		for _, def := range what.Add {
			kept[def.ID] = true
		}
		for id := range m.commands {
			if !kept[id] {
				f.unserve(m, id)
			}
		}
	}
	for _, id := range what.Remove {
		f.unserve(m, id)
	}
	for _, def := range what.Add {
		f.announced(m.id, &def, fx)
		if !f.serve(m, def) {
			f.noRoom(fx, m, "too many commands, or too long ones")
		}
	}
	if !f.seat(m, what) {
		f.noRoom(fx, m, "too many groups of listeners")
	}
	f.settleOwed(m)
	f.tellNews()
}

// noRoom counts one thing of a member's that finds no room. f.mu is held.
func (f *Fleet) noRoom(fx *effects, m *member, why string) {
	if n := f.count.refused.Add(1); n&(n-1) == 0 {
		fx.log(func() { f.log.Warn("process exceeds a bound, dropping the rest", "id", m.id, "why", why, "refused", n) })
	}
}

// telling is how often a member is sent the list of this process. Guarded by Fleet.mu.
type telling struct {
	since time.Time // of the pause that goes on
	count int       // lists that were sent in it
	due   bool      // one is to be sent when it is over
	echo  int64     // what that one answers
}

const (
	// promptLists is how many lists a member gets at once.
	promptLists = 3
	// listPause is the part of a lease in which it gets no more than these.
	listPause = 60
	// listRate is how much of lists a member gets in a lease, in bytes, beyond these.
	listRate = 64 << 20
)

// listing is the list of this process as it is sent. f.mu is held.
func (f *Fleet) listing() [][]byte {
	if f.list != nil && f.listOf == f.version {
		return f.list
	}
	var defs []bus.Definition
	if !f.draining {
		defs = slices.SortedFunc(maps.Values(f.own), func(a, b bus.Definition) int { return strings.Compare(a.ID, b.ID) })
	}
	f.list, f.listOf = nil, f.version
	for _, part := range split(defs) {
		f.list = append(f.list, encode(newCatalogue(part)))
	}
	if !f.draining {
		for _, part := range f.listGroups() {
			f.list = append(f.list, encode(part))
		}
	}
	return f.list
}

// tell sends a member all the commands of this process, in answer to what was sent at echo, now or when it may. f.mu is held.
func (f *Fleet) tell(m *member, echo int64) {
	list, size := f.listing(), int64(0)
	for _, part := range list {
		size += int64(len(part))
	}
	now, t := time.Now(), &m.telling
	pause := max(f.opts.Lease/listPause, time.Duration(float64(f.opts.Lease)*float64(size)/listRate))
	if now.Sub(t.since) >= pause {
		t.since, t.count = now, 0
	}
	if t.due = t.count >= promptLists; t.due {
		t.echo = echo
		return
	}
	t.count++
	for i, body := range list {
		f.post(m, &letter{kind: kindList, version: f.version, gaps: f.gaps, echo: echo, part: i + 1, parts: len(list), body: body})
	}
}

// settleDue asks and tells what had to wait. f.mu is held.
func (f *Fleet) settleDue(m *member, now time.Time) {
	if m.inquiry.lost(now, f.opts.Lease) {
		m.inquiry.sent, m.inquiry.due = time.Time{}, true
	}
	if m.inquiry.due {
		f.ask(m)
	}
	if m.telling.due {
		f.tell(m, m.telling.echo)
	}
}
