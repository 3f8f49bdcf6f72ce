package events

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// Overflow is what happens when a listener's queue is full.
type Overflow int

// The policies. Whatever is dropped is counted, and logged once in a while.
const (
	// DropOldest drops the event that has waited longest. The default.
	DropOldest Overflow = iota
	// DropNewest drops the event that has just come.
	DropNewest
	// Block makes a local emitter wait for room. Events from peers cannot
	// wait, since that would hold up the link: for them it is DropOldest.
	Block
)

// ListenOptions configures a listener. The zero value works.
type ListenOptions struct {
	// QueueSize bounds the events that wait for the listener. Default 8,192.
	QueueSize int
	// Overflow is the policy at that bound. Default DropOldest.
	Overflow Overflow
}

// Listener receives events, one at a time, in its own goroutine, from its own
// bounded queue: one that is slow or panics harms only itself.
type Listener struct {
	hub     *Hub
	pattern pattern
	opts    ListenOptions
	run     func(context.Context, *event)
	ctx     context.Context

	handled, dropped atomic.Uint64
	logged           atomic.Int64 // when a drop was logged last, Unix nanoseconds

	wake chan struct{} // capacity 1: the queue or closed changed
	done chan struct{} // closed when the goroutine has ended

	mu     sync.Mutex
	queue  []item        // guarded by mu
	array  []item        // guarded by mu: where an empty queue starts again
	events int           // guarded by mu: items that are not barriers
	closed bool          // guarded by mu
	asleep bool          // guarded by mu: the goroutine waits for wake
	room   chan struct{} // guarded by mu: closed when there is room; nil when nobody waits
}

type listenerKey struct{}

// listen starts a listener.
func (h *Hub) listen(text string, opts []ListenOptions, run func(context.Context, *event)) (*Listener, error) {
	p, err := parsePattern(text)
	if err != nil {
		return nil, err
	}
	var o ListenOptions
	switch {
	case len(opts) > 1:
		return nil, fmt.Errorf("listen %q: %d options", text, len(opts))
	case len(opts) == 1:
		o = opts[0]
	}
	if o.QueueSize < 0 || o.Overflow < DropOldest || o.Overflow > Block {
		return nil, fmt.Errorf("listen %q: invalid options %+v", text, o)
	}
	if o.QueueSize == 0 {
		o.QueueSize = 8192
	}
	l := &Listener{hub: h, pattern: p, opts: o, run: run,
		wake: make(chan struct{}, 1), done: make(chan struct{})}
	l.ctx = context.WithValue(h.ctx, listenerKey{}, l)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.bus.Draining() {
		return nil, fmt.Errorf("listen %q: %w", text, ErrClosed)
	}
	if p.tokens == nil {
		h.exact[text] = append(slices.Clip(h.exact[text]), l)
	} else {
		h.wild = append(slices.Clip(h.wild), l)
	}
	go l.loop()
	return l, nil
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

// Close ends the listener: what is queued is dropped and counted. A run that
// goes on is not waited for; Done is. Idempotent, from any goroutine.
func (l *Listener) Close() {
	l.hub.forget(l)
	l.mu.Lock()
	var left []item
	if !l.closed {
		l.closed = true
		left, l.queue = l.queue, nil
		l.events = 0
	}
	l.release()
	l.mu.Unlock()
	l.signal()
	for _, it := range left {
		l.discard(it)
	}
}

// Done is closed when the listener has ended: nothing of it runs any more.
func (l *Listener) Done() <-chan struct{} { return l.done }

func (h *Hub) forget(l *Listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	without := func(ls []*Listener) []*Listener {
		return slices.DeleteFunc(slices.Clone(ls), func(o *Listener) bool { return o == l })
	}
	if l.pattern.tokens != nil {
		h.wild = without(h.wild)
		return
	}
	if ls := without(h.exact[l.pattern.text]); len(ls) > 0 {
		h.exact[l.pattern.text] = ls
	} else {
		delete(h.exact, l.pattern.text)
	}
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
