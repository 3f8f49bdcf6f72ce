package events

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/pattern"
	"github.com/leatbus/leat/internal/payload"
)

// ErrClosed is returned by what is done after Close.
var ErrClosed = bus.ErrClosed

// maxDepth bounds the depth that events carry. A listener waits for nothing
// when it emits, so listeners may emit to each other for ever; half of
// [bus.MaxDepth] is left to the calls that they make.
const maxDepth = bus.MaxDepth / 2

// Hub is the event side of a bus: it fans events out to local listeners and
// to every link, and receives those of the peers. All methods are safe for
// concurrent use, listeners included.
type Hub struct {
	bus     *bus.Bus
	log     *slog.Logger
	wrapped message.HandlerFunc // a listener run inside the handler middleware; nil without any

	ctx    context.Context // of listener runs; ends at Close
	cancel context.CancelFunc

	emitted, received, dropped, spent, refused, unserved, passed, circles, panics, misfits atomic.Uint64

	attendance attendance

	mu     sync.RWMutex
	exact  map[string]*crowd // guarded by mu: by event ID
	wild   crowd             // guarded by mu: patterns with wildcards
	groups map[string]*group // guarded by mu: those that have listeners here, by name
	closed bool              // guarded by mu

	grouped  []*Listener // guarded by Bus.sequence: the listeners with a group, while an event is queued; else empty
	dividing []*group    // guarded by Bus.sequence: the groups of these; else empty
}

// NewHub returns a hub on b, for links attached from now on. A
// commands.Registry has one already.
func NewHub(b *bus.Bus) *Hub {
	h := &Hub{bus: b, log: b.Logger(), exact: make(map[string]*crowd), groups: make(map[string]*group)}
	h.attendance.init()
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.wrapped = b.Wrap(innermost)
	b.Use(func(l *bus.Link) bus.Receiver { return &receiver{h, l} })
	return h
}

// event is one event on its way to the listeners here. They share it.
type event struct {
	id, name string
	content  payload.Content
	metadata message.Metadata
	only     bool          // it is for them alone
	groups   *bus.GroupSet // those that it is for in this process, where that was decided elsewhere; else nil
	decide   bool          // that is decided here, as it was when the event was delivered: a link to a fleet may open meanwhile

	size   int // bytes that it takes in a queue
	depth  int32
	hops   int
	encode sync.Once // fills in body, for those that want bytes where content has none
	body   json.RawMessage
}

// eventBytes is what an event takes besides the data of its emitter.
const eventBytes = 200

// measure sets the size. Copies of it share all of that.
func (ev *event) measure() {
	ev.size = eventBytes + len(ev.id) + len(ev.name) + len(ev.content.Body)
	if ev.content.Value != nil {
		ev.size += ev.content.Value.Size()
	}
	for k, v := range ev.metadata {
		ev.size += len(k) + len(v)
	}
}

// json returns the payload's bytes, which all listeners share.
func (ev *event) json() json.RawMessage {
	if ev.content.Value == nil {
		return ev.content.Body
	}
	ev.encode.Do(func() { ev.body = ev.content.JSON() })
	return ev.body
}

func isPrivate(id string) bool { return strings.HasPrefix(id, "_") }

// EmitRaw broadcasts an event with an encoded payload, nil for none, which
// must not be changed afterwards. It returns once the event is in the queues
// of the local listeners and of the links, in that order for all later ones;
// it waits, for at most ctx, where a listener with the policy [Block] is behind, and where a link's queue is full: there for at most
// bus.Options.EmitTimeout. Then the event is dropped for that link and counted, and so are the next ones that find no room: until half
// of the link's queue is free emitters do not wait for it. Private events, whose ID begins with
// "_", stay here.
//
// The caller of a handler gets the events that the handler has emitted before its reply. A handler that emits on another
// goroutine has to use its ctx, or one derived from it.
//
// Errors: [ErrClosed], ctx.Err(), an error that wraps bus.ErrTooLarge where one of the links cannot carry it, or what is wrong
// with id or payload; then no listener gets the event.
func (h *Hub) EmitRaw(ctx context.Context, id string, data json.RawMessage) (err error) {
	defer h.emitPanicked(id, &err)
	if err := checkID(id); err != nil {
		return err
	}
	if data != nil {
		if err := payload.Valid(data); err != nil {
			return fmt.Errorf("emit %q: payload: %w", id, err)
		}
	}
	return h.intercept(ctx, id, payload.Content{Body: data})
}

// intercept emits through the interceptors, if there are any.
func (h *Hub) intercept(ctx context.Context, id string, content payload.Content) error {
	if !h.bus.Intercepts() {
		return h.emit(ctx, id, content)
	}
	return h.bus.Intercept(ctx, bus.NewOutgoing(bus.Event, id, content.JSON), func(ctx context.Context) error {
		return h.emit(ctx, id, content)
	})
}

// emitPanicked turns a panic of the emitter's own code, such as the MarshalJSON of its payload or a method of its
// context, into an error. To be deferred.
func (h *Hub) emitPanicked(id string, err *error) {
	if v := recover(); v != nil {
		h.log.Error("panic in an emitter", "event", id, "panic", v, "stack", string(debug.Stack()))
		*err = fmt.Errorf("emit %q: panic in the emitter's code: %v", id, v)
	}
}

func checkID(id string) error {
	if err := pattern.CheckID(id); err != nil {
		return fmt.Errorf("events: %w", err)
	}
	return nil
}

func (h *Hub) emit(ctx context.Context, id string, content payload.Content) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	depth := bus.Depth(ctx)
	if h.bus.Draining() && depth == 0 {
		return fmt.Errorf("emit %q: %w", id, ErrClosed)
	}
	limit := h.bus.Options().MaxMessageBytes
	e := bus.Envelope{Name: id, Body: content.Body, Value: content.Value, Metadata: bus.MetadataFrom(ctx)}
	if e.Value != nil && e.Size() > limit {
		content = payload.Content{Body: content.JSON()}
		e.Body, e.Value = content.Body, nil
	}
	if err := e.Within(limit); err != nil {
		return fmt.Errorf("emit %q: %w", id[:min(len(id), 64)], err)
	}
	self, _ := ctx.Value(listenerKey{}).(*Listener) // before anything is locked: a context is user code
	cause := h.bus.Cause(ctx)
	ev := &event{name: id, content: content, depth: int32(min(depth, maxDepth-1)), metadata: e.Metadata}
	if isPrivate(id) {
		ev.id = bus.NewID() // it uses up none of those that peers wait for
	}
	ev.measure()
	h.prepare(ev)
	if err := h.fits(ev); err != nil {
		return fmt.Errorf("emit %q: %w", id, err)
	}
	var patience emitPatience
	for {
		taken, err := h.take(self, ev, &patience)
		if err != nil {
			return fmt.Errorf("emit %q: %w", id, err)
		}
		if taken {
			h.emitted.Add(1)
			if !isPrivate(id) {
				cause.Emitted()
			}
			return nil
		}
		if err := patience.wait(ctx); err != nil {
			return fmt.Errorf("emit %q: %w", id, err)
		}
	}
}

// prepare encodes an event that goes to a link which needs bytes, while nothing is locked.
func (h *Hub) prepare(ev *event) {
	if ev.content.Value == nil || isPrivate(ev.name) {
		return
	}
	for _, l := range h.bus.Links() {
		if !l.Parcels() {
			ev.json()
			return
		}
	}
}

// fits refuses an event that one of the links cannot carry: no listener gets it then.
func (h *Hub) fits(ev *event) error {
	if isPrivate(ev.name) {
		return nil
	}
	for _, l := range h.bus.Links() {
		if !l.Sized() {
			continue
		}
		e := bus.Envelope{ID: ev.id, Type: bus.Event, Name: ev.name, Body: ev.content.Body, Value: ev.content.Value, Metadata: ev.metadata, Checked: true}
		if !l.Parcels() {
			e.Body, e.Value = ev.json(), nil
		}
		if err := l.Fits(&e); err != nil {
			return err
		}
	}
	return nil
}

// take queues an event everywhere, unless there is no room where the emitter waits for it.
func (h *Hub) take(self *Listener, ev *event, p *emitPatience) (taken bool, err error) {
	emitErr := h.bus.Emit(func(id func() string) {
		if taken, err = h.hasRoom(self, ev.name, p); taken {
			if ev.id == "" {
				ev.id = id()
			}
			h.fanOut(ev, h.deliver(ev), nil, bus.Envelope{})
		}
	})
	return taken, cmp.Or(emitErr, err)
}

// each calls fn for the listeners of an event ID. h.mu is held.
func (h *Hub) each(id string, fn func(*Listener)) {
	if c := h.exact[id]; c != nil {
		for _, l := range c.list {
			fn(l)
		}
	}
	for _, l := range h.wild.list {
		if l.pattern.Match(id) {
			fn(l)
		}
	}
}

// deliver queues the event with the local listeners, and returns the groups of
// those that have got it, if it is decided here. It does not block. Bus.sequence is held.
func (h *Hub) deliver(ev *event) (served []string) {
	ev.decide = h.decides(ev)
	h.mu.RLock()
	defer h.mu.RUnlock()
	grouped := h.grouped[:0]
	h.each(ev.name, func(l *Listener) {
		if l.group != nil {
			grouped = append(grouped, l)
			return
		}
		if ev.only {
			return
		}
		l.push(item{event: ev})
	})
	if len(grouped) > 0 {
		served = h.divide(ev, grouped, ev.groups != nil || ev.decide)
		clear(grouped)
	}
	h.grouped = grouped[:0]
	return served
}

// fanOut queues the event with every link but the one it came from.
func (h *Hub) fanOut(ev *event, served []string, from *bus.Link, got bus.Envelope) {
	if isPrivate(ev.name) {
		return
	}
	groups := h.decide(ev, served)
	hops := 0
	if from != nil {
		hops = got.Hops + 1
	}
	for _, l := range h.bus.Links() {
		if l == from || ev.only && !l.SameProcess() {
			continue
		}
		e := bus.Envelope{ID: ev.id, Type: bus.Event, Name: ev.name, Body: ev.content.Body, Value: ev.content.Value,
			Depth: int(ev.depth), Hops: hops, Life: got.Life, Metadata: ev.metadata, Checked: true, Only: ev.only}
		if groups != nil {
			e.Groups = groupsFor(l, groups)
		}
		if !l.Parcels() {
			e.Body, e.Value = ev.json(), nil
		}
		err := l.Send(e)
		if err != nil && !errors.Is(err, bus.ErrClosed) {
			h.dropped.Add(1)
			l.Drop(ev.name, err)
		}
	}
}

// receiver is what the hub does with one link.
type receiver struct {
	h    *Hub
	link *bus.Link
}

func (r *receiver) Opened()                      { r.h.attendance.meet(r.link) }
func (r *receiver) Learned()                     { r.h.attendance.greet(r.link) }
func (*receiver) ReceivesValues()                {}
func (*receiver) Unsent(bus.Type, string, error) {}
func (r *receiver) Closed(error)                 { r.h.attendance.part(r.link) }

// Receive takes an event that was not seen before. Dedupe has reserved its ID
// and holds the sequence: queueing is part of the same step.
func (r *receiver) Receive(d *bus.Delivery) bool {
	e := &d.Envelope
	switch e.Type {
	case bus.Event:
	case bus.Group:
		r.attending(d)
		return true
	default:
		return false
	}
	r.h.received.Add(1)
	ev := &event{id: e.ID, name: e.Name, content: payload.Content{Body: e.Body, Value: e.Value}, depth: int32(min(e.Depth, maxDepth-1)), metadata: e.Metadata, groups: r.groups(e)}
	ev.hops = e.Hops
	ev.only = e.Only && ev.groups != nil
	ev.measure()
	served := r.h.deliver(ev)
	if ev.groups != nil && len(*ev.groups) > 0 && r.link.Shared() {
		r.missed(ev, served)
	}
	if e.Hops < bus.MaxHops && (e.Life == 0 || e.Life >= bus.MinLife) {
		r.h.fanOut(ev, served, r.link, *e)
	} else {
		r.h.keepBack(ev, r.link)
	}
	return true
}

// groups returns what an event says about groups, if its link may say that: a fleet's, and those in this process.
func (r *receiver) groups(e *bus.Envelope) *bus.GroupSet {
	if e.Groups == nil || r.link.SameProcess() || r.link.Shared() {
		return e.Groups
	}
	r.h.refused.Add(1)
	return nil
}

// keepBack counts an event that is too old, or has come too far, to be sent on, if there is a link that it would go to. It
// is logged once in a while: in a goroutine, since the sequence is held.
func (h *Hub) keepBack(ev *event, from *bus.Link) {
	if isPrivate(ev.name) || !slices.ContainsFunc(h.bus.Links(), func(l *bus.Link) bool { return l != from }) {
		return
	}
	if n := h.spent.Add(1); n&(n-1) == 0 {
		go h.log.Warn("event not relayed: too old, or forwarded too often", "event", ev.name, "id", ev.id, "spent", n)
	}
}

// listeners returns all of them, and whether the hub is open.
func (h *Hub) listeners() (all []*Listener, open bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	all = append(all, h.wild.list...)
	for _, c := range h.exact {
		all = append(all, c.list...)
	}
	return all, !h.closed
}

// Close ends all listeners: what is queued is dropped and counted, the
// context of a run that goes on is cancelled, and it is not waited for.
// Idempotent, from any goroutine. The bus is left to its owner.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	all, _ := h.listeners()
	for _, l := range all {
		l.Close()
	}
}

// Stats counts what happened on a hub.
type Stats struct {
	Listeners int
	Queued    int    // events that wait in listeners' queues now
	Emitted   uint64 // by Emit and EmitRaw
	Received  uint64 // from peers, without duplicates
	Dropped   uint64 // for a listener or a link whose queue was full, or that closed
	Overtaken uint64 // from peers, but dropped, because a later one of their emitter had come over another link
	Spent     uint64 // from peers, but not relayed to others, because EventTTL or MaxHops was used up
	Passed    uint64 // events for a group that were to be served in this process, given to the fleet, since the last listener had closed
	Unserved  uint64 // such events that were not given to it, because its queue was full or MaxHops was used up
	Refused   uint64 // what a peer said about groups of listeners and may not say: it is in another process, or said too much
	Misfits   uint64 // payloads that did not fit a typed listener
	Panics    uint64 // of listeners
}

// Stats returns the counters.
func (h *Hub) Stats() Stats {
	s := Stats{Emitted: h.emitted.Load(), Received: h.received.Load(), Dropped: h.dropped.Load(),
		Misfits: h.misfits.Load(), Panics: h.panics.Load(), Overtaken: h.bus.Stats().Overtaken, Spent: h.spent.Load(), Refused: h.refused.Load(), Unserved: h.unserved.Load(), Passed: h.passed.Load()}
	all, _ := h.listeners()
	for _, l := range all {
		s.Listeners++
		s.Queued += l.Stats().Queued
	}
	return s
}
