package bus

import "time"

// emitter is what an [eventLog] knows of one bus that emits: its mark, and while it is awake a window. Guarded by the
// log's mu.
type emitter struct {
	prefix string // of its IDs

	top   uint64 // the highest number that came, …
	via   uint64 // … and the route that brought it
	other uint64 // the highest that another route brought; 0 if none did

	origin uint64 // no lower number was heard
	floor  uint64 // from here to top the window knows each number; at least 1
	missed uint64 // how many from origin to floor never came

	window []uint64 // a bit for each number that came, at its place modulo the length; nil while the emitter rests
	keys   int      // bits that are set

	loose      time.Duration // until when its events are heard in any order, since the log was made
	used       time.Duration // when an event of it came last, since the log was made
	prev, next *emitter
}

// word returns the w-th word of the numbers. The window has it.
func (e *emitter) word(w uint64) *uint64 { return &e.window[w%uint64(len(e.window))] }

// seen reports whether a number from floor to top came.
func (e *emitter) seen(n uint64) bool { return *e.word(n / 64)&(1<<(n%64)) != 0 }

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
