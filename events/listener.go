package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
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
	events int           // guarded by mu: items that are not barriers
	closed bool          // guarded by mu
	room   chan struct{} // guarded by mu: closed when there is room; nil when nobody waits
}

// item is an event, or the mark of a Flush.
type item struct {
	event   *event
	barrier chan struct{}
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
	return h.listen(pattern, opts, func(ctx context.Context, ev *event) { fn(ctx, ev.name, ev.payload) })
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

// push queues an item, or drops one by the policy. It never blocks.
func (l *Listener) push(it item) {
	var lost item
	l.mu.Lock()
	switch {
	case l.closed:
		lost = it
	case it.event != nil && l.events >= l.opts.QueueSize && l.opts.Overflow == DropNewest:
		lost = it
	case it.event != nil && l.events >= l.opts.QueueSize:
		lost = l.dropOldest()
	}
	if lost != it {
		if it.event != nil {
			l.events++
			l.hub.bus.Begin()
		}
		l.queue = append(l.queue, it)
	}
	l.mu.Unlock()
	if lost != (item{}) {
		if lost == it && it.event != nil {
			l.hub.bus.Begin() // discard counts it out
		}
		l.discard(lost)
	}
	l.signal()
}

// forgetBarrier takes the mark of a Flush that was given up out of the queue.
func (l *Listener) forgetBarrier(barrier chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = slices.DeleteFunc(l.queue, func(it item) bool { return it.barrier == barrier })
}

// dropOldest takes the first event out of the queue. l.mu is held.
func (l *Listener) dropOldest() item {
	for i, it := range l.queue {
		if it.event != nil {
			if i == 0 {
				l.queue[0] = item{}
				l.queue = l.queue[1:]
			} else {
				l.queue = slices.Delete(l.queue, i, i+1)
			}
			l.events--
			return it
		}
	}
	return item{}
}

// discard accounts for an item that the listener will not see.
func (l *Listener) discard(it item) {
	if it.barrier != nil {
		close(it.barrier)
		return
	}
	l.hub.bus.End()
	l.hub.dropped.Add(1)
	n := l.dropped.Add(1)
	now, last := time.Now().UnixNano(), l.logged.Load()
	if now-last > int64(10*time.Second) && l.logged.CompareAndSwap(last, now) {
		// Whoever pushes holds the bus's sequence, and a logger is user code.
		go l.hub.log.Warn("listener drops events", "pattern", l.pattern.text, "event", it.event.name, "dropped", n)
	}
}

func (l *Listener) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// release wakes those who wait for room. l.mu is held.
func (l *Listener) release() {
	if l.room != nil {
		close(l.room)
		l.room = nil
	}
}

// awaitRoom returns nil if the emitter of ctx need not wait; else a channel that is
// closed when it is worth another look.
func (l *Listener) awaitRoom(ctx context.Context) <-chan struct{} {
	if self, _ := ctx.Value(listenerKey{}).(*Listener); self == l {
		return nil // it cannot wait for itself
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.events < l.opts.QueueSize {
		return nil
	}
	if l.room == nil {
		l.room = make(chan struct{})
	}
	return l.room
}

// waitRoom waits until there is room for an event.
func (l *Listener) waitRoom(ctx context.Context) error {
	for {
		room := l.awaitRoom(ctx)
		if room == nil {
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// loop is the listener's goroutine.
func (l *Listener) loop() {
	exited := true // by runtime.Goexit in the listener's function, unless cleared
	defer func() {
		if exited {
			l.hub.panics.Add(1)
			l.hub.log.Error("listener ended its goroutine", "pattern", l.pattern.text)
			go l.loop()
			return
		}
		close(l.done)
	}()
	for {
		it, ok := l.next()
		if !ok {
			exited = false
			return
		}
		if it.barrier != nil {
			close(it.barrier)
			continue
		}
		l.handle(it.event)
	}
}

// next waits for the first item. False once the listener is closed.
func (l *Listener) next() (item, bool) {
	for {
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			return item{}, false
		}
		if len(l.queue) > 0 {
			it := l.queue[0]
			l.queue[0] = item{}
			if l.queue = l.queue[1:]; len(l.queue) == 0 {
				l.queue = nil // let the array go, and start afresh
			}
			if it.event != nil {
				l.events--
				if l.events <= l.opts.QueueSize/2 { // not for each single place
					l.release()
				}
			}
			l.mu.Unlock()
			return it, true
		}
		l.mu.Unlock()
		<-l.wake
	}
}

// handle runs the listener's function for one event.
func (l *Listener) handle(ev *event) {
	defer l.hub.bus.End()
	defer func() {
		if v := recover(); v != nil {
			l.hub.panics.Add(1)
			l.hub.log.Error("listener panicked", "pattern", l.pattern.text, "event", ev.name, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	ctx := bus.WithDepth(l.ctx, ev.depth+1)
	if ev.metadata != nil {
		ctx = bus.WithMetadata(ctx, ev.metadata)
	}
	if l.hub.wrapped == nil {
		l.run(ctx, ev)
		l.handled.Add(1)
		return
	}
	if err := l.runWrapped(ctx, ev); err != nil {
		l.hub.log.Warn("listener failed", "pattern", l.pattern.text, "event", ev.name, "error", err.Error())
	}
}

// occasion is the context of an event on its way through the handler
// middleware to one listener.
type occasion struct {
	context.Context
	listener *Listener
	event    *event
}

type occasionKey struct{}

func (o *occasion) Value(key any) any {
	if _, ok := key.(occasionKey); ok {
		return o
	}
	return o.Context.Value(key)
}

func (l *Listener) runWrapped(ctx context.Context, ev *event) error {
	m, err := bus.Binary.Marshal(bus.Envelope{ID: ev.id, Type: bus.Event, Name: ev.name, Body: ev.payload, Depth: ev.depth, Metadata: ev.metadata})
	if err != nil {
		return err
	}
	m.SetContext(&occasion{ctx, l, ev})
	m.Ack() // nobody waits for it; middleware may look
	_, err = l.hub.wrapped(m)
	return err
}

// innermost is the end of the handler chain: the listener's function.
func innermost(m *message.Message) ([]*message.Message, error) {
	o, ok := m.Context().Value(occasionKey{}).(*occasion)
	if !ok {
		return nil, errors.New("handler middleware replaced the message's context")
	}
	ev := *o.event
	if ev.payload = nil; len(m.Payload) > 0 {
		ev.payload = json.RawMessage(m.Payload)
	}
	o.listener.run(m.Context(), &ev)
	o.listener.handled.Add(1)
	return nil, nil
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
