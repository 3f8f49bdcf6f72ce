package commands

import (
	"context"
	"fmt"
	"time"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/payload"
)

// route is a request that was forwarded: the answer goes back to origin. It
// keeps nothing of what was sent.
type route struct {
	exchange
	serving serving // at the origin
	origin  *peer
	cost    int       // bytes that it counts for at the origin
	at      time.Time // when it was forwarded

	older, newer *route // guarded by origin.mu: see forwarded
	settled      bool   // guarded by origin.mu: answered, before it was even sent
	counted      bool   // guarded by origin.mu: as work that a drain waits for
}

// requested handles an execute.command.request from the peer.
func (p *peer) requested(d *bus.Delivery) {
	r, e := p.r, &d.Envelope
	if e.Depth > bus.MaxDepth || e.Depth == 0 && r.bus.Draining() {
		p.inadmissible(d)
		return
	}
	cmd := r.lookup(e.Name)
	if cmd == nil && p.router {
		cmd = r.acknowledged(e.Name, p)
	}
	private := isPrivate(e.Name)
	if cmd != nil && cmd.owner == nil && (!private || p.link.Local()) {
		p.admit(d, cmd)
		return
	}
	p.elsewhere(d, cmd, private)
}

// inadmissible refuses a request that comes too late or is nested too deeply.
func (p *peer) inadmissible(d *bus.Delivery) {
	e := &d.Envelope
	if e.Depth == 0 {
		p.unstarted(e.ID, disconnected(e.Name, p.link.ID(), ErrClosed))
		return
	}
	p.refuse(e.ID, tooDeep(e.Name).fault())
}

// elsewhere handles a request that is not served here.
func (p *peer) elsewhere(d *bus.Delivery, cmd *command, private bool) {
	switch {
	case private:
		p.unrouted(d)
	case cmd != nil && cmd.owner != p: // owner is not nil: the local ones are handled
		p.forward(d, cmd.owner, true)
	default:
		p.escalate(d)
	}
}

// escalate sends a request for a command that is not known here on to the
// router, unless it came from there.
func (p *peer) escalate(d *bus.Delivery) {
	r := p.r
	router := r.router.Load()
	switch {
	case p.router || r.cfg.RouterChannel == "":
		p.unrouted(d)
	case router == nil:
		p.refuse(d.Envelope.ID, disconnected(d.Envelope.Name, r.cfg.RouterChannel, bus.ErrNotConnected).fault())
	default:
		p.forward(d, router, false)
	}
}

// unstarted answers with a refusal, and says that no handler has seen the request: it may be sent elsewhere.
func (p *peer) unstarted(id string, err *Error) {
	f := err.fault()
	f.Unrouted = true
	p.refuse(id, f)
}

// unrouted answers not_found in the name of routing, not of a handler.
func (p *peer) unrouted(d *bus.Delivery) {
	p.unstarted(d.Envelope.ID, notFound(d.Envelope.Name))
	p.denied(d.Envelope.Name)
}

// looped answers not_found to a request that goes in a circle, or has come too
// far. It does not say that the command is nowhere.
func (p *peer) looped(e *bus.Envelope) {
	p.r.stats.loops.Add(1)
	p.refuse(e.ID, &bus.Fault{Code: string(NotFound), Looped: true,
		Message: fmt.Sprintf("command not found: %s, after %d registries or in a circle", e.Name, e.Hops)})
}

// forward sends the request on to another link, under its own ID where that
// is free there.
func (p *peer) forward(d *bus.Delivery, to *peer, listed bool) {
	e := &d.Envelope
	if e.Hops >= bus.MaxHops || to.out.isCall(e.ID, e.Name) { // a call of this registry's own that came back: through peers that do not count hops
		p.looped(e)
		return
	}
	if err := to.unreadable(e.Name, payload.Content{Body: e.Body, Value: e.Value}); err != nil {
		p.refuse(e.ID, err.fault())
		return
	}
	now := time.Now()
	rt := &route{exchange: exchange{command: e.Name, listed: listed}, origin: p,
		cost: requestBytes + len(e.ID) + len(e.Name), at: now}
	rt.owner = rt
	rt.serving = serving{p: p, route: rt}
	rt.serving.id, rt.serving.hash = e.ID, hashID(e.ID)
	expires := e.Expires
	if expires.IsZero() {
		expires = now.Add(p.r.cfg.RequestTTL)
	}
	switch p.roomToForward(rt) {
	case moot:
		return
	case overloaded:
		p.overloaded(e.ID, fmt.Sprintf("%d forwarded requests wait for answers already", p.r.cfg.MaxForwarded))
		return
	}
	if !to.begin(&rt.exchange, p.r.forwardID(to, e.ID), expires) {
		p.refuse(e.ID, disconnected(e.Name, to.link.ID(), bus.ErrNotConnected).fault())
		return
	}
	if !p.enter(&rt.serving) {
		return
	}
	p.r.stats.forwarded.Add(1)
	err := to.link.Relay(bus.Envelope{ID: rt.id, Type: bus.ExecuteRequest, Name: e.Name, Body: e.Body, Value: e.Value,
		Expires: expires, Depth: e.Depth, Hops: e.Hops + 1, Key: e.Key, Idempotent: e.Idempotent,
		Durable: e.Durable, Once: e.Once, Metadata: e.Metadata})
	if err != nil && to.out.drop(&rt.exchange) {
		rt.settle(outcome{err: sendFailure(e.Name, to, err)})
	}
}

// enter notes a request that is about to be forwarded. False if that is moot:
// the link to the caller has closed, or the one to the command has.
func (p *peer) enter(s *serving) bool {
	p.mu.Lock()
	closed, settled := p.closed, s.route.settled
	if !closed && !settled {
		p.in.add(&s.idEntry, s.id, s.hash, s)
		p.forwarded.push(s.route)
		p.held += s.route.cost
		p.sweepLater()
		p.r.bus.Begin() // until settle or leave
		s.route.counted = true
	}
	p.mu.Unlock()
	if closed {
		s.route.leave()
	}
	return !closed && !settled
}

// forwardID returns the ID under which a request goes out on a link: its own,
// unless that was used there within RequestTTL. The far side would take the
// second one for a redelivery of the first, except of parcels.
func (r *Registry) forwardID(to *peer, id string) string {
	if to.link.Parcels() {
		return id
	}
	fresh, err := r.forwarded.Reserve(context.Background(), to.link.ID()+"/"+id)
	if err != nil || !fresh {
		return bus.NewID()
	}
	return id
}

// settle sends the answer back to where the request came from.
func (rt *route) settle(o outcome) {
	p := rt.origin
	p.mu.Lock()
	rt.settled = true
	counted := rt.counted
	p.in.remove(&rt.serving.idEntry)
	p.unlist(rt)
	p.mu.Unlock()
	if counted {
		defer p.r.bus.End() // also when the publisher ends the goroutine
	}
	e := bus.Envelope{Type: bus.ExecuteResponse, Thread: rt.serving.id,
		Body: o.Body, Value: o.Value, Fault: o.fault, Metadata: o.metadata, Free: o.free || o.err != nil}
	switch {
	case o.err != nil:
		e.Fault = o.err.fault()
	case o.fault != nil:
		e.Fault = spellable(o.fault)
	}
	denied := e.Fault != nil && e.Fault.Unrouted && Code(e.Fault.Code) == NotFound // the fault is the peer's once it is sent
	p.answer(e)
	if denied {
		p.denied(rt.command)
	}
}

// leave gives the forwarded request up, because its caller has left.
func (rt *route) leave() {
	if !rt.to.out.drop(&rt.exchange) {
		return
	}
	rt.origin.mu.Lock()
	rt.origin.unlist(rt)
	rt.origin.mu.Unlock()
	rt.to.cancelled(&rt.exchange)
	if rt.counted {
		rt.origin.r.bus.End()
	}
}
