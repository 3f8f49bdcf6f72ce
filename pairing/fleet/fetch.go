package fleet

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/leatbus/leat/bus"
)

// What a process knows of another one's commands and groups is a version and a hash. A change says what the next version
// has; where it does not follow on what is known, or what a process says of itself does not fit together, the catalogue of that
// hash is fetched: once for all members that have it, and from any of them. What a member says in answer to a question counts,
// also where its version is lower: what was said before, on the topic that anybody may write to, was wrong then.

// inquiry is how often a member is asked what its version is. Guarded by Fleet.mu.
type inquiry struct {
	sent  time.Time     // of the question that is not answered yet; zero: there is none
	next  time.Time     // no question before
	pause time.Duration // between the last question and the next
	due   bool          // there is one to be asked then
}

// may reports whether there may be a question now, and counts with it. Else it is due when it may.
func (q *inquiry) may(now time.Time, lease time.Duration) bool {
	if !q.sent.IsZero() && now.Sub(q.sent) < lease/3 {
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

// firstInquiry is the part of a lease after which a second question may follow the first. The pause doubles, up to a lease.
const firstInquiry = 48

// inquire asks a member what its version is, now or as soon as that may be. f.mu is held.
func (f *Fleet) inquire(m *member) {
	if m.inquiry == nil {
		m.inquiry = new(inquiry)
	}
	if m.inquiry.may(time.Now(), f.opts.Lease) {
		f.ping(m)
	}
	f.observe(m)
}

// possible reports whether a session can have come to a version: each takes a message.
func (f *Fleet) possible(version int64, session string) bool {
	const day = 24 * 60 * 60 * 1e6 // for clocks that differ
	age := max(0, f.stamp()-began(session))
	return version >= 0 && version <= age+day
}

// claimed takes what a member has said of its version on the topic that is everybody's. f.mu is held.
func (f *Fleet) claimed(m *member, l *letter, fx *effects) {
	switch {
	case m.foreign || m.draining || l.version == 0:
	case m.version == 0:
		f.assign(m, l.version, l.hash, nil, fx)
	case l.version != m.version || l.hash != m.hash():
		f.inquire(m) // its answer counts: this may be forged
	}
	if l.gaps != m.gaps && l.gaps >= 0 && len(m.calls) > 0 {
		f.inquire(m)
	}
}

// confirmedBy takes what a member has said of its version in answer to this process. f.mu is held.
func (f *Fleet) confirmedBy(m *member, l *letter, fx *effects) {
	if m.inquiry != nil {
		m.inquiry.sent = time.Time{}
	}
	if m.gaps >= 0 && l.gaps > m.gaps {
		f.giveUp(slices.Collect(maps.Values(m.calls)), fx)
	}
	m.gaps = l.gaps
	if m.foreign || m.draining {
		return
	}
	switch {
	case m.version == l.version && m.hash() == l.hash:
		f.reinstall(m, fx)
		return
	case l.version < m.version && l.echo <= m.reached: // it was on its way when a change came
		f.inquire(m)
		return
	}
	f.assign(m, l.version, l.hash, nil, fx)
}

// changed takes a change of a member's commands. f.mu is held.
func (f *Fleet) changed(m *member, l *letter, fx *effects) {
	if m.foreign || m.draining {
		return
	}
	switch {
	case m.kind != nil && m.kind.known && l.version == m.version+1 && l.what.From == m.hash():
		f.assign(m, l.version, l.hash, &l.what, fx)
	case m.kind != nil && !m.kind.known && l.version > m.version: // what was to be fetched is old by now
		f.assign(m, l.version, l.hash, nil, fx)
	default:
		f.claimed(m, l, fx)
	}
}

// hash is that of the member's catalogue.
func (m *member) hash() string {
	if m.kind == nil {
		return ""
	}
	return m.kind.name
}

// assign notes which catalogue a member has. delta is what is different from the last, if that is known. f.mu is held.
func (f *Fleet) assign(m *member, version int64, hash string, delta *catalogue, fx *effects) {
	f.unmark(m)
	defer f.mark(m)
	m.version, m.reached = version, f.stamp()
	base := m.kind
	if base != nil && base.name == hash {
		return
	}
	k := f.kinds[hash]
	if k == nil && delta != nil {
		k = f.derive(m, hash, delta, fx)
	}
	if k == nil {
		k = newKind(hash)
		k.known = hash == ""
		f.kinds[hash] = k
	}
	if k == base { // it was changed as it is
		f.install(m, k, delta, fx)
		return
	}
	if base != nil {
		delete(base.claims, m)
	}
	m.kind = k
	k.claims[m] = struct{}{}
	if k.known {
		f.install(m, base, delta, fx)
	} else {
		f.want(k)
	}
	f.release(base)
}

// derive makes the catalogue that a change leads to; nil if it does not lead there. One that is the member's alone becomes it. f.mu
// is held.
func (f *Fleet) derive(m *member, hash string, delta *catalogue, fx *effects) *kind {
	base := m.kind
	k := base
	alone := len(base.claims) == 1 && base.shown == 1 && m.shown == base && base.name != ""
	if !alone {
		k = &kind{sum: base.sum, known: true, commands: maps.Clone(base.commands), sums: maps.Clone(base.sums), seats: maps.Clone(base.seats),
			seatSums: maps.Clone(base.seatSums), wild: base.wild, bytes: base.bytes, claims: make(map[*member]struct{})}
	}
	before := k.bytes
	if alone {
		f.kept -= before
		delete(f.kinds, base.name)
	}
	if !k.apply(delta, maxKnown-f.kept) {
		f.noRoom(fx, m, "too many commands or groups, or too long ones")
	}
	if k.hash() != hash {
		if alone { // it is what the member has no more, and nobody else
			k.name = "!" + hash
			f.kinds[k.name] = k
			f.kept += k.bytes
		}
		return nil
	}
	k.name = hash
	f.kinds[hash] = k
	f.kept += k.bytes
	return k
}

// release forgets a catalogue that no member has. f.mu is held.
func (f *Fleet) release(k *kind) {
	if k == nil || len(k.claims) > 0 || k.shown > 0 || f.kinds[k.name] != k {
		return
	}
	delete(f.kinds, k.name)
	delete(f.wanted, k)
	f.kept -= k.bytes
	f.forgetParts(k)
}

// install makes a member serve what its catalogue says. base and delta are how it came to that, if both are known. f.mu is held.
func (f *Fleet) install(m *member, base *kind, delta *catalogue, fx *effects) {
	k, old := m.kind, m.shown
	f.show(m, k)
	f.compareWith(m, delta, fx)
	full := true
	if delta != nil && old != nil && old == base && len(m.without) == 0 {
		for _, id := range delta.Remove {
			f.unserve(m, id)
		}
		for _, in := range delta.Leave {
			f.unseat(m, in)
		}
		for i := range delta.defs {
			full = f.servesIf(m, k, delta.defs[i].ID) && full
		}
		for _, in := range delta.joins {
			if p, there := k.seats[in]; there {
				f.seating.add(in, m, p)
			}
		}
	} else {
		if old != nil {
			for id := range old.commands {
				if _, there := k.commands[id]; !there {
					f.unserve(m, id)
				}
			}
			for in := range old.seats {
				if _, there := k.seats[in]; !there {
					f.unseat(m, in)
				}
			}
		}
		for id := range k.commands {
			full = f.servesIf(m, k, id) && full
		}
		for in, p := range k.seats {
			f.seating.add(in, m, p)
		}
	}
	m.without = nil
	if !full {
		f.noRoom(fx, m, "too many durable commands")
	}
	f.release(old)
	f.tellNews()
}

// compareWith compares the schemas of a member's commands with those of the others: once for all that have the same. f.mu is held.
func (f *Fleet) compareWith(m *member, delta *catalogue, fx *effects) {
	switch {
	case m.kind.shown > 1:
	case delta != nil:
		for i := range delta.defs {
			f.announced(m.id, &delta.defs[i], fx)
		}
	default:
		for _, def := range m.kind.commands {
			f.announced(m.id, &def, fx)
		}
	}
}

// reinstall takes back that a member is said not to serve what it lists. f.mu is held.
func (f *Fleet) reinstall(m *member, fx *effects) {
	if len(m.without) > 0 && m.shown == m.kind && m.kind != nil {
		f.install(m, m.kind, nil, fx)
	}
}

// show notes what a member's commands are known to be; nil: it serves nothing. f.mu is held.
func (f *Fleet) show(m *member, k *kind) {
	if m.shown != nil {
		m.shown.shown--
	}
	if m.shown = k; k != nil {
		k.shown++
	}
}

func (f *Fleet) servesIf(m *member, k *kind, id string) bool {
	def, there := k.commands[id]
	return !there || f.serve(m, def)
}

// noRoom counts one thing of a member's that finds no room. f.mu is held.
func (f *Fleet) noRoom(fx *effects, m *member, why string) {
	if n := f.count.refused.Add(1); n&(n-1) == 0 {
		fx.log(func() { f.log.Warn("process exceeds a bound, dropping the rest", "id", m.id, "why", why, "refused", n) })
	}
}

// fetching is how a catalogue is fetched. Guarded by Fleet.mu.
type fetching struct {
	from  string    // the session that was asked; empty: nobody
	stamp int64     // of the question, which the answer echoes
	sent  time.Time // of the question
	due   time.Time // of the next
	pause time.Duration
	parts map[int]*catalogue // of the answer
	total int
	bytes int64
}

const (
	// promptFetch is the size of a fleet up to which a catalogue is fetched at once. In a larger one all would ask the only
	// process that has a new one at once: they take some time for it.
	promptFetch = 32
	// maxFetches bounds the catalogues that are being fetched. The others wait.
	maxFetches = 16
)

// want fetches a catalogue, soon. f.mu is held.
func (f *Fleet) want(k *kind) {
	if k.known || f.wanted[k] || f.err != nil {
		return
	}
	f.wanted[k] = true
	now := time.Now()
	n := len(f.members) / max(1, len(k.claims)) // so many may ask each that has it
	if n <= promptFetch {
		f.fetch(k, now)
		return
	}
	spread := min(f.opts.Lease/4, time.Duration(n)*f.opts.Lease/4000)
	k.fetch.due = now.Add(time.Duration(rand.Int64N(int64(spread) + 1)))
}

// fetch asks one of the members that have it. f.mu is held.
func (f *Fleet) fetch(k *kind, now time.Time) {
	f.forgetParts(k)
	if f.fetches() >= maxFetches {
		k.fetch.due = now
		return
	}
	for m := range k.claims { // any
		l := &letter{kind: kindFetch, thread: k.name}
		f.post(m, l)
		k.fetch.from, k.fetch.stamp, k.fetch.sent = m.session, l.sent, now
		break
	}
	k.fetch.pause = min(max(2*k.fetch.pause, f.opts.Lease/ticks), f.opts.Lease)
	k.fetch.due = now.Add(k.fetch.pause)
}

// fetches is how many catalogues are on their way. f.mu is held.
func (f *Fleet) fetches() (n int) {
	for k := range f.wanted {
		n += count(k.fetch.from != "")
	}
	return n
}

// settleFetches asks for what is wanted and was not asked for, or has not come. f.mu is held.
func (f *Fleet) settleFetches(now time.Time) {
	for k := range f.wanted {
		if k.fetch.from != "" && now.Sub(k.fetch.sent) > f.opts.Lease/3 {
			k.fetch.from = ""
		}
	}
	for k := range f.wanted {
		if k.fetch.from == "" && !now.Before(k.fetch.due) {
			f.fetch(k, now)
		}
	}
}

func (f *Fleet) forgetParts(k *kind) {
	f.waiting -= k.fetch.bytes
	k.fetch.from, k.fetch.parts, k.fetch.bytes, k.fetch.total = "", nil, 0, 0
}

// listed takes one part of the list that a member has sent. f.mu is held.
func (f *Fleet) listed(m *member, l *letter, fx *effects) error {
	if l.parts == 0 {
		return fmt.Errorf("a list without parts")
	}
	var k *kind
	for other := range f.wanted {
		if other.fetch.from == m.session && other.fetch.stamp == l.echo && l.echo != 0 {
			k = other
		}
	}
	if k == nil { // it comes late, or nobody has asked
		return nil
	}
	if l.hash != k.name { // it has another one by now
		f.forgetParts(k)
		k.fetch.due = time.Now()
		f.confirmedBy(m, l, fx)
		if len(k.claims) > 0 {
			f.fetch(k, time.Now())
		}
		f.settled(fx)
		return nil
	}
	t := &k.fetch
	if t.parts == nil {
		t.parts, t.total = make(map[int]*catalogue), l.parts
	}
	if t.parts[l.part] != nil || t.total != l.parts {
		return nil
	}
	if f.waiting+int64(l.what.bytes) > maxKnown {
		f.forgetParts(k)
		f.noRoom(fx, m, "lists that are not complete take too much")
		return nil
	}
	what := l.what
	t.parts[l.part] = &what
	t.bytes += int64(what.bytes)
	f.waiting += int64(what.bytes)
	if len(t.parts) == t.total {
		f.complete(m, k, fx)
	}
	return nil
}

// complete takes a list of which all parts are there. f.mu is held.
func (f *Fleet) complete(m *member, k *kind, fx *effects) {
	full := newKind(k.name)
	room, all := maxKnown-f.kept, true
	for _, i := range slices.Sorted(maps.Keys(k.fetch.parts)) {
		all = full.apply(k.fetch.parts[i], room-full.bytes) && all
	}
	f.forgetParts(k)
	if full.hash() != k.name {
		f.count.rejected.Add(1)
		fx.log(func() { f.log.Warn("list rejected: it is not of its hash", "id", m.id) })
		return
	}
	if !all {
		f.noRoom(fx, m, "too many commands or groups, or too long ones")
	}
	delete(f.wanted, k)
	k.known, k.sum, k.commands, k.sums = true, full.sum, full.commands, full.sums
	k.seats, k.seatSums, k.wild, k.bytes = full.seats, full.seatSums, full.wild, full.bytes
	f.kept += k.bytes
	for other := range k.claims {
		if !other.draining && !other.foreign {
			f.install(other, nil, nil, fx)
		}
	}
	f.settled(fx)
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
	defs := slices.SortedFunc(maps.Values(f.own), func(a, b bus.Definition) int { return strings.Compare(a.ID, b.ID) })
	f.list, f.listOf = nil, f.version
	for _, part := range split(defs) {
		f.list = append(f.list, encode(newCatalogue(part)))
	}
	for some := range slices.Chunk(slices.Collect(maps.Keys(f.attends)), maxInterests) {
		f.list = append(f.list, encode(newInterests(some)))
	}
	return f.list
}

// tell sends a member all the commands of this process, in answer to what was sent at echo, now or when it may. f.mu is held.
func (f *Fleet) tell(m *member, echo int64) {
	list, size := f.listing(), int64(0)
	for _, part := range list {
		size += int64(len(part))
	}
	if m.telling == nil {
		m.telling = new(telling)
	}
	now, t := time.Now(), m.telling
	pause := max(f.opts.Lease/listPause, time.Duration(float64(f.opts.Lease)*float64(size)/listRate))
	if now.Sub(t.since) >= pause {
		t.since, t.count = now, 0
	}
	if t.due = t.count >= promptLists; t.due {
		t.echo = echo
		f.observe(m)
		return
	}
	t.count++
	for i, body := range list {
		l := &letter{kind: kindList, echo: echo, part: i + 1, parts: len(list), body: body}
		f.introduce(l)
		f.post(m, l)
	}
}
