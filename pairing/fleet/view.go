package fleet

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// What a process knows of the others has a digest, which goes with each ping and pong. Where two differ, a broadcast was
// lost: one of the two asks the other for what is different. So what all are told once is known to all, at last.

// view is the body of a view, and of a sync.
type view struct {
	// Members are processes: of a view.
	Members []entry `json:"members,omitempty"`
	// Buckets are the digests of all that is known: of a sync. Of a view they are the numbers of those of which Members has all.
	Buckets []uint64 `json:"buckets,omitempty"`
	// New is whether the sender has only just begun, and may not know much.
	New bool `json:"new,omitempty"`
}

// entry is a process, as another one tells of it.
type entry struct {
	ID      string `json:"id"`
	Session string `json:"session"`
	Version int64  `json:"version,omitempty"`
	Hash    string `json:"hash,omitempty"`
	Lease   int64  `json:"lease,omitempty"` // µs
	Wire    int64  `json:"wire,omitempty"`
	Oldest  int64  `json:"oldest,omitempty"`
}

const (
	// buckets is the number of parts that a digest has where it is compared.
	buckets = 32
	// viewPart bounds the processes of one part of a view, and maxRepair those of an answer to a sync.
	viewPart  = 256
	maxRepair = 256
	// viewRate is how many parts of views a process sends in a lease.
	viewRate = 4096
)

// readView reads the body of a view or sync.
func (l *letter) readView() error {
	if len(l.body) > maxNoticeBody {
		return fmt.Errorf("%s with %d bytes", l.kind, len(l.body))
	}
	if err := json.Unmarshal(l.body, &l.view); err != nil {
		return fmt.Errorf("%s: %w", l.kind, err)
	}
	l.body = nil
	if len(l.view.Members) > viewPart || len(l.view.Buckets) > buckets {
		return fmt.Errorf("%s with %d processes", l.kind, len(l.view.Members))
	}
	for i := range l.view.Members {
		e := &l.view.Members[i]
		if err := (process{e.ID, e.Session}).check(); err != nil {
			return fmt.Errorf("%s: %w", l.kind, err)
		}
		if err := checkHash(e.Hash); err != nil {
			return fmt.Errorf("%s: %w", l.kind, err)
		}
	}
	return nil
}

// bucketOf is the part of the digest that a session is in.
func bucketOf(session string) int { return int(hash("", session) % buckets) }

// mark counts a member into the digest, as it is now. f.mu is held.
func (f *Fleet) mark(m *member) {
	if m.foreign || m.draining || m.closing || f.members[m.id] != m {
		return
	}
	m.mark = markOf(m.session, m.version, m.hash())
	f.marks[bucketOf(m.session)] ^= m.mark
}

// unmark counts it out. f.mu is held.
func (f *Fleet) unmark(m *member) {
	f.marks[bucketOf(m.session)] ^= m.mark
	m.mark = 0
}

func markOf(session string, version int64, name string) uint64 {
	return hash(session, name) ^ hash(session, "version")*uint64(2*version+1)
}

// digests are those of all processes that are known, this one included. f.mu is held.
func (f *Fleet) digests() [buckets]uint64 {
	all := f.marks
	if !f.draining {
		all[bucketOf(f.self.session)] ^= markOf(f.self.session, f.version, f.mine.hash())
	}
	return all
}

// digest is all of it in one number. f.mu is held.
func (f *Fleet) digest() (all uint64) {
	for i, d := range f.digests() {
		all ^= d * uint64(2*i+1)
	}
	return all
}

// guide is the member that this process has asked for a view. Guarded by Fleet.mu.
type guide struct {
	session string    // empty: none
	stamp   int64     // of the question
	sent    time.Time // of the question
	all     bool      // it was asked for all
	got     map[int]bool
}

// follow asks a member for what it knows: all, or where it differs from what is known here. f.mu is held.
func (f *Fleet) follow(m *member, all bool) {
	l := &letter{kind: kindJoin}
	if !all {
		d := f.digests()
		l = &letter{kind: kindSync, body: encode(view{Buckets: d[:]})}
	}
	f.introduce(l)
	f.aside(m, l)
	f.guide = guide{session: m.session, stamp: l.sent, sent: time.Now(), all: all, got: make(map[int]bool)}
}

// differs takes the digest of another process. f.mu is held.
func (f *Fleet) differs(m *member, digest int64) {
	now := time.Now()
	calm := now.Sub(f.changedAt) > f.opts.Lease/(2*ticks) || now.Sub(f.synced) > f.opts.Lease
	if uint64(digest) == f.digest() || f.guide.session != "" || f.draining || !calm || now.Sub(f.synced) < f.opts.Lease/3 {
		return
	}
	f.synced = now
	f.follow(m, false)
}

// show tells a member which processes there are: all, or those of the parts in which it differs. f.mu is held.
func (f *Fleet) tellView(m *member, l *letter) {
	all := l.kind == kindJoin
	var entries []entry
	var whole []uint64
	if all {
		for _, other := range f.members {
			entries = appendEntry(entries, other)
		}
	} else {
		if len(l.view.Buckets) != buckets {
			return
		}
		own := f.digests()
		for _, i := range rand.Perm(buckets) {
			if own[i] == l.view.Buckets[i] {
				continue
			}
			some := entries
			for _, other := range f.members {
				if bucketOf(other.session) == i {
					some = appendEntry(some, other)
				}
			}
			if !f.draining && bucketOf(f.self.session) == i {
				some = append(some, f.entry())
			}
			if len(some) > maxRepair && len(entries) > 0 || len(some) > viewPart {
				continue
			}
			entries, whole = some, append(whole, uint64(i))
		}
	}
	var parts [][]entry
	for part := range slices.Chunk(entries, f.entriesOf()) {
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		parts = [][]entry{nil}
	}
	if f.views += len(parts); f.views > viewRate {
		return // it asks again, or another one
	}
	for i, part := range parts {
		answer := &letter{kind: kindView, echo: l.sent, part: i + 1, parts: len(parts), body: encode(view{part, whole, !f.isSettled()})}
		f.introduce(answer)
		f.aside(m, answer)
	}
}

// entriesOf is how many processes one message may tell of.
func (f *Fleet) entriesOf() int {
	const size = 2*maxID + 2*maxSession // of the longest, and its hash
	if limit := f.opts.MaxMessageBytes; limit > 0 {
		return max(1, min(viewPart, (limit-2048)/size))
	}
	return viewPart
}

func (f *Fleet) entry() entry {
	return entry{f.self.id, f.self.session, f.version, f.mine.hash(), f.ownLease(), wireVersion, wireOldest}
}

func appendEntry(entries []entry, m *member) []entry {
	if m.foreign || m.draining || m.closing || m.version == 0 {
		return entries
	}
	return append(entries, entry{m.id, m.session, m.version, m.hash(), m.lease.Microseconds(), m.wire, 0})
}

// viewed takes one part of what a member knows. f.mu is held.
func (f *Fleet) viewed(m *member, l *letter, fx *effects) {
	g := &f.guide
	if g.session != m.session || l.echo == 0 || l.echo != g.stamp || g.got[l.part] || l.parts == 0 {
		return
	}
	g.got[l.part] = true
	there := make(map[string]bool, len(l.view.Members))
	for i := range l.view.Members {
		e := &l.view.Members[i]
		there[e.Session] = true
		f.heardOf(e, fx)
	}
	if len(l.view.Buckets) > 0 && l.parts == 1 {
		f.questionMissing(l.view.Buckets, there)
	}
	if len(g.got) < l.parts {
		return
	}
	first := !f.joined
	f.joined = f.joined || g.all
	f.guided = f.guided || g.all && !l.view.New
	f.guide = guide{}
	if first || len(f.members) > 2*f.helloSize+1 { // now it can prove to all that it is there
		f.hello()
	}
	deferred := f.deferred
	f.deferred = nil
	for i := range deferred {
		if other := &deferred[i]; f.proven(other) {
			f.meet(other, fx)
		}
	}
	f.settled(fx)
}

// heardOf takes what a member has said of another process. f.mu is held.
func (f *Fleet) heardOf(e *entry, fx *effects) {
	p := process{e.ID, e.Session}
	m := f.members[e.ID]
	_, left := f.left[e.Session]
	_, lost := f.lost[e.Session]
	switch {
	case !f.possible(e.Version, e.Session) || left:
	case p == f.self:
		if e.Version != f.version || e.Hash != f.mine.hash() {
			f.correct()
		}
	case e.ID == f.self.id: // it says so itself
	case lost: // is it back?
		f.sound(p)
	case m != nil && m.session == e.Session:
		if e.Version > m.version || e.Version == m.version && e.Hash != m.hash() {
			f.inquire(m)
		}
	case m != nil && !f.later(e.Session, m.session, m.clock.offset, !m.clock.measured.IsZero()):
	case m != nil:
		f.sound(p) // a later life, if it is there
	default:
		if m = f.admit(p, e.Wire, e.Oldest, fx); m != nil {
			m.tells(e.Lease)
			f.assign(m, e.Version, e.Hash, nil, fx)
			if len(f.members) <= crowd && !m.foreign {
				f.ping(m)
			}
		}
	}
}

// questionMissing looks after members that another process does not know. f.mu is held.
func (f *Fleet) questionMissing(whole []uint64, there map[string]bool) {
	for _, m := range f.members {
		if m.mark != 0 && !there[m.session] && slices.Contains(whole, uint64(bucketOf(m.session))) && time.Since(m.heard) > f.opts.Lease/6 {
			f.suspectHere(m)
		}
	}
}

// sound sends a ping to a process that is not a member: it becomes one if it answers. f.mu is held.
func (f *Fleet) sound(p process) {
	if len(f.strangers) >= maxStrangers && !f.strangers[p.id] {
		return
	}
	f.strangers[p.id] = true
	l := &letter{kind: kindPing, to: p.session, digest: int64(f.digest())}
	f.introduce(l)
	f.mail(f.letters, outItem{letter: l, topic: f.inboxTopic(p.id)})
}

// correct says to all what this process is, since others believe something else. Once in a tick. f.mu is held.
func (f *Fleet) correct() {
	if f.corrected {
		return
	}
	f.corrected = true
	f.beat()
}
