package events

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/leatbus/leat/internal/option"
	"github.com/leatbus/leat/internal/pattern"
)

// Overflow is what happens when a listener's queue is full.
type Overflow int

// The policies. Whatever is dropped is counted, and logged once in a while.
const (
	// DropOldest drops the event that has waited longest. The default.
	DropOldest Overflow = iota
	// DropNewest drops the event that has just come.
	DropNewest
	// Block makes a local emitter wait for room, also where another listener
	// of the same group would get the event. Events from peers cannot
	// wait, since that would hold up the link: for them it is DropOldest.
	// Neither can a listener that emits, with the ctx of its run, to itself, or
	// to others that wait for it in the same way: there it is DropOldest too,
	// counted, and logged. Emitters whose ctx is not that of the run are
	// waited for like any other: a circle of these stops until a ctx ends.
	Block
)

// ListenOptions configures a listener. The zero value works.
type ListenOptions struct {
	// QueueSize bounds the events that wait for the listener. Default 8,192.
	QueueSize int
	// QueueBytes bounds the memory that they take: payloads, IDs and metadata. A queue that has less takes one event
	// more, however large. Default 64 MiB.
	QueueBytes int
	// Overflow is the policy at these bounds. Default DropOldest.
	Overflow Overflow
	// Group names a group of listeners that share the work: each event goes to one of them. Letters, digits, "-", "_"
	// and ".", at most 128. Default: none; the listener gets every event.
	//
	// Of the listeners of one registry whose patterns match, the group's take turns; one whose queue is full is passed
	// over while another has room. Of the processes of a fleet one
	// gets the event: the one where it was emitted, if it has a listener of the group for it, else a random one that
	// the emitter's fleet knows to have one. So at most one process of the fleet gets it. None does if no process listens,
	// or none that the emitter has heard of yet, and if the one that was picked ends before its listener has run. If that
	// goes on, and its last listener of the group has closed when the event comes, the fleet picks another process.
	//
	// Registries that are joined by pairs are one process to the fleet: which one of them has a listener does not
	// matter. Among themselves each is its own: a listener of the group gets the event in each of them. So it is
	// without any fleet, and beyond links to other processes that are not of a fleet (pairing.Join). Processes of a
	// fleet that reach each other in another way as well may serve a group twice, or not at all.
	Group string
}

func (o *ListenOptions) check() error {
	switch {
	case o.Overflow < DropOldest || o.Overflow > Block:
		return fmt.Errorf("ListenOptions.Overflow is no policy: %d", o.Overflow)
	case !isGroup(o.Group):
		return fmt.Errorf("ListenOptions.Group is not a name of at most 128 letters, digits, '-', '_' and '.': %q", o.Group)
	}
	return option.NotNegative("ListenOptions",
		option.Number{Field: "QueueSize", Value: int64(o.QueueSize)}, option.Number{Field: "QueueBytes", Value: int64(o.QueueBytes)})
}

// Listener receives events, one at a time, in its own goroutine, from its own
// bounded queue: one that is slow or panics harms only itself.
type Listener struct {
	hub     *Hub
	pattern pattern.Pattern
	group   *group // nil without

	places    [2]int // guarded by Hub.mu: where it is in the crowd of its pattern, and in that of its group
	forgotten bool   // guarded by Hub.mu: it is in no table any more

	opts ListenOptions
	run  func(context.Context, *event)
	ctx  context.Context

	waitsFor atomic.Pointer[Listener] // the full one that an emitter in a run of this one waits for; or nil

	handled, dropped atomic.Uint64
	logged           atomic.Int64 // when a drop was logged last, Unix nanoseconds

	wake chan struct{} // capacity 1: the queue or closed changed
	done chan struct{} // closed when the goroutine has ended

	mu        sync.Mutex
	queue     []item        // guarded by mu
	array     []item        // guarded by mu: where an empty queue starts again
	events    int           // guarded by mu: items that are not barriers
	bytes     int           // guarded by mu: what these take
	barriers  int           // guarded by mu: the other items
	abandoned int           // guarded by mu: events that were queued at Close, and no other listener has taken over
	closed    bool          // guarded by mu
	asleep    bool          // guarded by mu: the goroutine waits for wake
	room      chan struct{} // guarded by mu: closed when there is room; nil when no emitter waits
}

type listenerKey struct{}

// listen starts a listener.
func (h *Hub) listen(text string, opts []ListenOptions, run func(context.Context, *event)) (*Listener, error) {
	p, err := pattern.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	var o ListenOptions
	switch {
	case len(opts) > 1:
		return nil, fmt.Errorf("listen %q: %d options", text, len(opts))
	case len(opts) == 1:
		o = opts[0]
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("listen %q: %w", text, err)
	}
	if o.Group != "" && len(text) > maxPattern {
		return nil, fmt.Errorf("listen: the pattern of a group has %d bytes, the limit is %d", len(text), maxPattern)
	}
	if o.QueueSize == 0 {
		o.QueueSize = 8192
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = 64 << 20
	}
	l := &Listener{hub: h, pattern: p, opts: o, run: run,
		wake: make(chan struct{}, 1), done: make(chan struct{})}
	l.ctx = context.WithValue(h.ctx, listenerKey{}, l)
	h.attend(l) // first: a peer that hears of an event which it serves has heard of the listener
	if !h.admit(l) {
		h.absent(l)
		return nil, fmt.Errorf("listen %q: %w", text, ErrClosed)
	}
	return l, nil
}

// admit starts the listener, unless the hub is closed.
func (h *Hub) admit(l *Listener) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.bus.Draining() {
		return false
	}
	h.crowd(l).add(l)
	h.joinGroup(l)
	go l.loop()
	return true
}

// ListenRaw calls fn for each event whose ID matches the pattern: an event
// ID, in which "*" stands for one token between dots, and ">" at the end for one
// or more. fn runs in the listener's goroutine, one event at a time, in the order of arrival; its ctx ends
// when the hub closes. The payload is nil if the event has none, and must not be changed.
func (h *Hub) ListenRaw(pattern string, fn func(ctx context.Context, id string, payload json.RawMessage), opts ...ListenOptions) (*Listener, error) {
	if fn == nil {
		return nil, fmt.Errorf("listen %q: nil function", pattern)
	}
	return h.listen(pattern, opts, func(ctx context.Context, ev *event) { fn(ctx, ev.name, ev.json()) })
}

// Close ends the listener: what is queued is given to others of its group at the hub that match and have room, or to the
// fleet, for another process; what is left is dropped and counted. A run that goes on is not waited for; Done is. Idempotent, from any goroutine.
func (l *Listener) Close() {
	l.mu.Lock()
	left := l.queue
	l.closed, l.queue, l.array = true, nil, nil
	if len(left) > 0 {
		l.abandoned = l.events // a Flush that comes before they are taken over counts too many
		l.events, l.bytes, l.barriers = 0, 0, 0
	}
	l.release()
	l.mu.Unlock()
	l.signal()
	if len(left) > 0 {
		l.hub.handOver(l, left)
	}
	if l.hub.forget(l) {
		l.hub.absent(l)
	}
}

// handOver gives away what a listener has left.
func (h *Hub) handOver(l *Listener, left []item) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	lost, heirs := 0, make(map[*Listener]bool)
	for _, it := range left {
		if it.barrier != nil {
			it.barrier.lost.Add(int64(lost))
			it.barrier.closed.Store(true)
			for heir := range heirs {
				it.barrier.places.Add(1)
				heir.push(it)
			}
			it.barrier.pass()
			continue
		}
		if heir := h.heir(l, it); heir != nil {
			heirs[heir] = true
			h.bus.End() // the heir has counted it in
			continue
		}
		if !h.closed && h.passOn(l, it.event) {
			h.bus.End()
			continue
		}
		lost++
		l.discard(it.event)
	}
	l.mu.Lock()
	l.abandoned = lost
	l.mu.Unlock()
}

// heir gives an event of a listener's to another one of its group, and returns that; nil if none has room. h.mu is held.
func (h *Hub) heir(l *Listener, it item) *Listener {
	if l.group == nil || h.closed {
		return nil
	}
	all := l.group.all.list
	turn := int(l.group.turn.Add(1) % uint64(max(1, len(all))))
	for i := range all {
		if o := all[(turn+i)%len(all)]; o != l && o.pattern.Match(it.event.name) && o.tryPush(it) {
			return o
		}
	}
	return nil
}

// Done is closed when the listener has ended: nothing of it runs any more.
func (l *Listener) Done() <-chan struct{} { return l.done }

// crowd returns the listeners among which l is, or is to be. h.mu is held.
func (h *Hub) crowd(l *Listener) *crowd {
	if l.pattern.Wild() {
		return &h.wild
	}
	text := l.pattern.String()
	c := h.exact[text]
	if c == nil {
		c = new(crowd)
		h.exact[text] = c
	}
	return c
}

// forget takes a listener out of the tables, and reports whether it was there.
func (h *Hub) forget(l *Listener) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.forgotten {
		return false
	}
	l.forgotten = true
	c := h.crowd(l)
	if c.remove(l); len(c.list) == 0 && c != &h.wild {
		delete(h.exact, l.pattern.String())
	}
	h.leaveGroup(l)
	return true
}

// ListenerStats counts what happened to one listener.
type ListenerStats struct {
	Handled uint64 // events that its function has seen
	Dropped uint64 // events dropped at the bound, or at Close
	Queued  int    // events that wait now
}

// Stats returns the counters. They stay readable after Close.
func (l *Listener) Stats() ListenerStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return ListenerStats{Handled: l.handled.Load(), Dropped: l.dropped.Load(), Queued: l.events}
}
