package bus

import (
	"slices"
	"time"
)

// emitter is what an [eventLog] knows of one bus that emits: its mark, and while it is awake a window. Guarded by the
// log's mu.
type emitter struct {
	prefix string // of its IDs

	met  bool       // a number came
	top  uint64     // the highest one
	ways []routeTop // of the routes that brought some, the highest of each; at most maxWays
	gaps []gap      // see leap; at most maxGaps

	origin uint64 // no lower number was heard
	floor  uint64 // from here to top the window knows each number; at least 1
	missed uint64 // how many from origin to floor never came

	window []uint64 // a bit for each number that came, at its place modulo the length; nil while the emitter rests
	lost   []uint64 // likewise for each that came and was overtaken; nil while there is none
	keys   int      // bits that are set

	loose      time.Duration // until when its events are heard in any order, since the log was made
	used       time.Duration // when an event of it came last, since the log was made
	prev, next *emitter
}

// word returns the w-th word of the numbers. The window has it.
func (e *emitter) word(w uint64) *uint64 { return &e.window[w%uint64(len(e.window))] }

// seen reports whether a number from floor to top came.
func (e *emitter) seen(n uint64) bool { return *e.word(n / 64)&(1<<(n%64)) != 0 }

// overtaken reports whether a number from floor to top came, and was not heard.
func (e *emitter) overtaken(n uint64) bool {
	return e.lost != nil && e.lost[n/64%uint64(len(e.lost))]&(1<<(n%64)) != 0
}

// lose notes whether a number from floor to top was not heard.
func (e *emitter) lose(n uint64, lost bool) {
	if e.lost == nil {
		e.lost = make([]uint64, len(e.window))
	}
	w := &e.lost[n/64%uint64(len(e.lost))]
	if *w &^= 1 << (n % 64); lost {
		*w |= 1 << (n % 64)
	}
}

// routeTop is the highest number that a route brought.
type routeTop struct{ via, top uint64 }

// maxWays bounds the routes that are told apart. Those that are forgotten are new ones when they bring something again.
const maxWays = 16

// brought returns the highest number that a route brought, 0 if it is not known.
func (e *emitter) brought(via uint64) uint64 {
	for i := range e.ways {
		if e.ways[i].via == via {
			return e.ways[i].top
		}
	}
	return 0
}

// bring notes what a route brings.
func (e *emitter) bring(via, n uint64) {
	lowest := 0
	for i := range e.ways {
		w := &e.ways[i]
		if w.via == via {
			w.top = max(w.top, n)
			return
		}
		if w.top < e.ways[lowest].top {
			lowest = i
		}
	}
	if len(e.ways) < maxWays {
		e.ways = append(e.ways, routeTop{via, n})
		return
	}
	e.ways[lowest] = routeTop{via, n}
}

// gap is what a leap passed over: the numbers between both, of which none came, or they came as foreign IDs.
type gap struct {
	low, high uint64
	used      time.Duration // when it was made, or an event in it came
}

const (
	// maxLeap is as far as a route may be behind another one: MaxHops queues of the default size.
	maxLeap = MaxHops * 8192
	// maxGaps bounds the gaps that are known; one that is not used for markMemory makes room.
	maxGaps = 4
)

// leap notes that numbers from low to n are passed over. It returns false if there is no room to note that.
func (e *emitter) leap(low, n uint64, now time.Duration) bool {
	e.gaps = slices.DeleteFunc(e.gaps, func(g gap) bool { return now-g.used >= markMemory })
	if len(e.gaps) == maxGaps {
		return false
	}
	e.gaps = append(e.gaps, gap{low, n - maxLeap, now})
	return true
}

// inGap reports whether a leap passed over a number.
func (e *emitter) inGap(n uint64, now time.Duration) bool {
	for i := range e.gaps {
		if g := &e.gaps[i]; g.low < n && n < g.high {
			g.used = now
			return true
		}
	}
	return false
}

// emitterList is a list in which each emitter is at most once.
type emitterList struct{ first, last *emitter }

func (l *emitterList) push(e *emitter) {
	if e.prev, e.next = l.last, nil; l.last != nil {
		l.last.next = e
	} else {
		l.first = e
	}
	l.last = e
}

func (l *emitterList) remove(e *emitter) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		l.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		l.last = e.prev
	}
	e.prev, e.next = nil, nil
}
