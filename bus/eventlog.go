package bus

import (
	"math/bits"
	"strings"
	"sync"
	"time"

	"github.com/leatbus/leat/bus/dedupe"
)

// hearing is what the event log makes of one event.
type hearing int

const (
	heardNew  hearing = iota // not seen before: it is delivered
	heardOld                 // seen before: a duplicate
	overtaken                // not seen before, and lower than what another route has brought: a loss
	unjudged                 // the mark of its emitter says nothing about it
)

const (
	markMemory = time.Hour       // how long the mark of an emitter outlives its last event
	minRest    = 5 * time.Second // how long at least a window outlives the last event: transports without order take no heed of EventTTL
	maxWindow  = 1 << 10         // words: the last 65,536 numbers of an emitter are known one by one
	minWindow  = 1 << 2          // words
)

// eventLog remembers the events that a bus has received. Those that a bus has made have IDs that are numbers behind a
// prefix of the emitter's own: of each emitter the log keeps a mark, which outlives EventTTL, and for EventTTL, or five seconds
// if that is less, a window of bits. All others are foreign IDs: see foreignLog.
//
// Of one emitter, each number is heard at most once, for as long as its mark is remembered. Routes (links, or processes
// behind the link to a fleet) bring its events in order. So the order of the emitter holds if an unseen number that is
// lower than what another route has brought is not heard any more: it is overtaken, which is a loss, and counted. One
// that is lower than what came over its own route shows that the transport keeps no order: it is heard, also if a copy of it
// was overtaken, and for EventTTL nothing of that emitter is overtaken, since there is no order to keep.
//
// A number that is far beyond the mark, over a new route, may be made up. It is heard, and the numbers between are foreign IDs.
type eventLog struct {
	foreign *foreignLog
	ttl     time.Duration
	rest    time.Duration // how long a window outlives the last event of its emitter
	maxKeys int           // bits that are set
	maxBits int           // words, over all windows
	maxMade int           // emitters
	base    time.Time

	mu       sync.Mutex
	emitters map[string]*emitter // guarded by mu: by prefix
	awake    emitterList         // guarded by mu: those with a window, the one that rests longest first
	asleep   emitterList         // guarded by mu: those that have only a mark, likewise
	hit      *emitter            // guarded by mu: the one used last; or nil
	keys     int                 // guarded by mu: bits that are set, in all windows
	words    int                 // guarded by mu: the lengths of all windows
	evicted  uint64              // guarded by mu: marks forgotten before their time
	timer    *time.Timer         // guarded by mu: sweeps; nil while there are no emitters
	closed   bool                // guarded by mu
}

func newEventLog(ttl time.Duration, maxKeys int) *eventLog {
	return &eventLog{
		foreign: newForeignLog(ttl, maxKeys),
		ttl:     ttl, rest: max(ttl, minRest), maxKeys: maxKeys,
		maxBits:  maxWindow + maxKeys/4,
		maxMade:  1<<10 + maxKeys/4,
		base:     time.Now(),
		emitters: make(map[string]*emitter),
	}
}

// hear says what an event is to this bus, and remembers it. via names the route, channel the link's peer.
func (l *eventLog) hear(id string, via uint64, channel string) (hearing, error) {
	prefix, n, ok := parseEventID(id)
	if !ok || n == 0 {
		return l.foreign.hear(id, channel)
	}
	v, err := l.hearMade(prefix, n, via)
	if v == unjudged && err == nil {
		return l.foreign.hear(id, channel)
	}
	return v, err
}

// hearMade is hear for what a bus has made.
func (l *eventLog) hearMade(prefix string, n, via uint64) (hearing, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return heardOld, dedupe.ErrClosed
	}
	now := time.Since(l.base)
	e := l.hit
	if e == nil || e.prefix != prefix {
		e = l.emitters[prefix]
	}
	if e == nil {
		if !isEventPrefix(prefix) {
			return unjudged, nil
		}
		e = l.meet(prefix, n, now)
	} else {
		l.touch(e, now)
	}
	l.hit = e
	return l.judge(e, n, via, now), nil
}

// judge says what the number is, and remembers it.
func (l *eventLog) judge(e *emitter, n, via uint64, now time.Duration) hearing {
	if n < e.top && e.inGap(n, now) {
		return unjudged
	}
	if n > e.top {
		return l.advance(e, n, via, now)
	}
	if n < e.brought(via) { // the transport keeps no order
		e.loose = now + l.ttl
	}
	e.bring(via, n)
	ordered := now >= e.loose
	switch {
	case n < e.origin && (ordered || !l.extend(e, n)):
		return overtaken
	case n < e.floor:
		if e.missed == 0 {
			return heardOld
		}
		e.missed--
		return overtaken
	case e.seen(n):
		if ordered || !e.overtaken(n) {
			return heardOld
		}
		e.lose(n, false)
		return heardNew
	case ordered:
		l.mark(e, n) // it counts once
		if n >= e.floor {
			e.lose(n, true)
		}
		return overtaken
	}
	l.mark(e, n)
	return heardNew
}

// advance takes a number beyond the top.
func (l *eventLog) advance(e *emitter, n, via uint64, now time.Duration) hearing {
	top := e.top
	leap := e.met && n-top > maxLeap && (e.brought(via) == 0 || len(e.gaps) == maxGaps)
	if leap && !e.leap(top, n, now) {
		return unjudged
	}
	e.met = true
	l.slide(e, n)
	if e.top = n; leap { // what it passes over is not waited for
		e.missed -= min(e.missed, n-maxLeap-top-1)
	}
	e.bring(via, n)
	l.mark(e, n)
	return heardNew
}

// extend makes room in the window for a number below its origin, from where none was heard.
func (l *eventLog) extend(e *emitter, n uint64) bool {
	need := e.top/64 - n/64 + 1
	if e.floor != e.origin || e.window == nil || need > maxWindow {
		return false
	}
	size := uint64(len(e.window))
	for size < need {
		size *= 2
	}
	if l.words+int(size)-len(e.window) > l.maxBits {
		return false
	}
	l.resize(e, size)
	e.floor = max(1, n/64*64)
	e.origin = e.floor
	return true
}

// mark sets the bit of a number in the window. At the bound the emitter that rests longest loses some of its own.
func (l *eventLog) mark(e *emitter, n uint64) {
	*e.word(n / 64) |= 1 << (n % 64)
	e.keys++
	for l.keys++; l.keys > l.maxKeys; {
		o := l.awake.first
		l.raise(o, min(o.floor/64*64+64, o.top+1))
		if o.floor > o.top {
			l.sleep(o)
		}
	}
}

// meet makes the mark of an emitter whose first event has the number n.
func (l *eventLog) meet(prefix string, n uint64, now time.Duration) *emitter {
	for len(l.emitters) >= l.maxMade {
		o := l.asleep.first
		if o == nil {
			o = l.awake.first
		}
		l.forget(o)
		l.evicted++
	}
	e := &emitter{prefix: strings.Clone(prefix), used: now}
	if word := n / 64; word >= minWindow {
		e.floor = (word - minWindow + 1) * 64
	}
	e.floor = max(1, e.floor)
	if n > maxLeap {
		e.leap(0, n, now)
	}
	e.origin, e.top = e.floor, e.floor-1
	l.emitters[e.prefix] = e
	l.asleep.push(e)
	if l.timer == nil {
		l.timer = time.AfterFunc(l.ttl, l.sweep)
	}
	return e
}

// touch puts an emitter at the end of its list.
func (l *eventLog) touch(e *emitter, now time.Duration) {
	e.used = now
	list := l.list(e)
	if list.last != e {
		list.remove(e)
		list.push(e)
	}
}

func (l *eventLog) list(e *emitter) *emitterList {
	if e.window == nil {
		return &l.asleep
	}
	return &l.awake
}

// slide makes room in the window for a number beyond its top.
func (l *eventLog) slide(e *emitter, n uint64) {
	need := n/64 - e.floor/64 + 1
	size := uint64(len(e.window))
	if need > size && size < maxWindow {
		want := max(size, minWindow)
		for want < need && want < maxWindow && l.words+int(2*want-size) <= l.maxBits {
			want *= 2
		}
		l.resize(e, want)
		size = want
	}
	if need > size {
		l.raise(e, (n/64-size+1)*64)
	}
}

// resize gives an emitter a longer window, its first if it has none.
func (l *eventLog) resize(e *emitter, size uint64) {
	old := e.window
	if uint64(len(old)) == size {
		return
	}
	if old == nil {
		l.asleep.remove(e)
		l.awake.push(e)
	}
	window := make([]uint64, size)
	for w := e.floor / 64; old != nil && w <= e.top/64; w++ {
		window[w%size] = old[w%uint64(len(old))]
	}
	if e.lost != nil {
		lost := make([]uint64, size)
		for w := e.floor / 64; w <= e.top/64; w++ {
			lost[w%size] = e.lost[w%uint64(len(e.lost))]
		}
		e.lost = lost
	}
	l.words += len(window) - len(old)
	e.window = window
}

// raise forgets which numbers below floor were seen, and keeps how many were not.
func (l *eventLog) raise(e *emitter, floor uint64) {
	end := min(floor, e.top+1)
	for w := e.floor / 64; w*64 < end; w++ {
		lo, hi := max(w*64, e.floor), min(w*64+64, end)
		if hi <= lo {
			continue
		}
		seen := 0
		if e.window != nil {
			word := e.word(w)
			in := (^uint64(0) >> (64 - (hi - lo))) << (lo % 64)
			seen = bits.OnesCount64(*word & in)
			*word &^= in
			if e.lost != nil {
				e.lost[w%uint64(len(e.lost))] &^= in
			}
		}
		e.missed += hi - lo - uint64(seen)
		e.keys -= seen
		l.keys -= seen
	}
	if floor > e.top+1 { // numbers that are jumped over have not come
		e.missed += floor - max(e.top+1, e.floor)
	}
	e.floor = floor
}

// sleep takes its window from an emitter, and leaves it the mark.
func (l *eventLog) sleep(e *emitter) {
	l.raise(e, e.top+1)
	l.awake.remove(e)
	l.words -= len(e.window)
	e.window, e.lost = nil, nil
	l.asleep.push(e)
}

// forget forgets an emitter.
func (l *eventLog) forget(e *emitter) {
	l.list(e).remove(e)
	delete(l.emitters, e.prefix)
	l.words -= len(e.window)
	l.keys -= e.keys
	if l.hit == e {
		l.hit = nil
	}
}

// expire takes the windows of emitters that have said nothing for long enough, and the marks of those that have said
// nothing for markMemory.
func (l *eventLog) expire(now time.Duration) {
	for l.awake.first != nil && now-l.awake.first.used >= l.rest {
		l.sleep(l.awake.first)
	}
	for l.asleep.first != nil && now-l.asleep.first.used >= max(l.ttl, markMemory) {
		l.forget(l.asleep.first)
	}
}

// sweep is the timer's function: it expires, and looks again while there are emitters.
func (l *eventLog) sweep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = nil
	if l.closed {
		return
	}
	now := time.Since(l.base)
	l.expire(now)
	var wait time.Duration
	switch {
	case l.awake.first != nil:
		wait = l.rest - (now - l.awake.first.used)
	case l.asleep.first != nil:
		wait = max(l.ttl, markMemory) - (now - l.asleep.first.used)
	default:
		return
	}
	l.timer = time.AfterFunc(max(wait, l.ttl/sweepsPerTTL, minSweepInterval), l.sweep)
}

// How often what has expired is looked for: at least sweepsPerTTL times in a lifetime, at most every minSweepInterval.
const (
	sweepsPerTTL     = 4
	minSweepInterval = time.Millisecond
)

// eventLogStats is a snapshot of an event log.
type eventLogStats struct {
	keys, emitters int
	evicted        uint64
}

func (l *eventLog) stats() eventLogStats {
	s := l.foreign.stats()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(time.Since(l.base))
	s.keys += l.keys
	s.emitters = len(l.emitters)
	s.evicted += l.evicted
	return s
}

// Close forgets everything.
func (l *eventLog) Close() error {
	l.mu.Lock()
	l.closed = true
	l.emitters, l.awake, l.asleep, l.hit, l.keys, l.words = nil, emitterList{}, emitterList{}, nil, 0, 0
	if l.timer != nil {
		l.timer.Stop()
	}
	l.mu.Unlock()
	return l.foreign.Close()
}
