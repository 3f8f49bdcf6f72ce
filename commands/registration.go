package commands

import (
	"errors"
	"time"

	"github.com/leatbus/leat/bus"
)

// registration asks the router to accept a command: one registered here, or
// one that a child has registered here. Until the answer the ID is reserved.
type registration struct {
	exchange
	r         *Registry
	cmd       *command
	refresh   bool       // the command is in the table already; only the router is told anew
	done      chan error // capacity 1: a Register call that waits; or nil
	child     *peer      // the peer that waits; or nil
	threads   []string   // guarded by r.mu: the IDs of its requests
	anew      *command   // guarded by r.mu: what the child has registered again meanwhile; the router has to hear it too
	later     []string   // guarded by r.mu: the IDs of those requests
	abandoned bool       // guarded by r.mu: the child has left or withdrawn meanwhile
	begun     bool       // guarded by r.mu: the exchange has its ID
}

// request sends the registration to the router. It always settles.
func (p *peer) request(reg *registration, ttl time.Duration) {
	reg.owner = reg
	if !p.begin(&reg.exchange, bus.NewID(), time.Now().Add(ttl)) {
		reg.settle(outcome{err: disconnected(reg.command, p.link.ID(), bus.ErrNotConnected)})
		return
	}
	p.r.mu.Lock()
	reg.begun = true
	p.r.mu.Unlock()
	err := p.link.Send(bus.Envelope{ID: reg.id, Type: bus.RegisterRequest, Body: encodeDefinitions(reg.cmd.def), Durable: reg.cmd.def.Durable})
	if err != nil && p.out.drop(&reg.exchange) {
		reg.settle(outcome{err: sendFailure(reg.command, p, err)})
	}
}

// settle installs the command on an ack, right where the ack is read, so that
// a call which comes behind it finds the command.
func (reg *registration) settle(o outcome) {
	r := reg.r
	err := o.failed(reg.command)
	r.mu.Lock()
	if r.reserved[reg.command] == reg {
		delete(r.reserved, reg.command)
	}
	install := err == nil && !reg.refresh && !reg.abandoned
	if install {
		r.install(reg.cmd)
	}
	orphan := err == nil && !reg.refresh && reg.abandoned
	threads := reg.threads
	var again *registration
	switch {
	case reg.anew == nil:
	case install:
		r.install(reg.anew)
		again = &registration{exchange: exchange{command: reg.command}, r: r, cmd: reg.anew, refresh: true, child: reg.child, threads: reg.later}
	default:
		threads = append(threads, reg.later...)
	}
	if lost := o.err != nil && o.err.Code == Timeout && !reg.refresh; orphan || lost {
		reg.to.withdraw(reg.command) // it may have taken it, or take it yet
	}
	r.mu.Unlock()

	if install && reg.child == nil {
		r.advertise(reg.cmd)
	}
	reg.report(err, threads)
	if again != nil {
		reg.to.request(again, r.cfg.RequestTTL)
	}
	if reg.refresh && (err == nil || err.Code != ChannelDisconnected) {
		reg.to.escalateNext()
	}
}

// report tells whoever waits.
func (reg *registration) report(err *Error, threads []string) {
	switch {
	case reg.done != nil && err != nil:
		reg.done <- err
	case reg.done != nil:
		reg.done <- nil
	case reg.child != nil:
		for _, id := range threads {
			reg.child.acknowledge(id, err)
		}
	case err != nil:
		reg.r.log.Warn("the router does not take a command: it stays local", "command", reg.command, "code", string(err.Code), "error", err.Error())
	}
}

// acknowledge answers a registration of the peer. The canonical form has one
// word for a refusal; a foreign peer is not told a wrong one, it times out.
func (p *peer) acknowledge(thread string, err *Error) {
	e := bus.Envelope{Type: bus.RegisterResponse, Thread: thread}
	if err != nil {
		if err.Code != DuplicateCommand && err.Code != InvalidRequest && !p.link.Understands(bus.CanWithdraw) {
			return
		}
		e.Fault = err.fault()
	}
	p.answer(e)
}

// registered handles a register.command.request from the peer.
func (p *peer) registered(d *bus.Delivery) {
	def, err := d.Envelope.Definition()
	if err != nil {
		p.link.Reject(d, err)
		return
	}
	id, thread := def.ID, d.Envelope.ID
	if isPrivate(id) {
		p.link.Reject(d, errors.New("private command "+id))
		p.acknowledge(thread, &Error{Code: InvalidRequest, Command: id, Message: "private command: " + id})
		return
	}
	r := p.r
	cmd := &command{def: def, owner: p, registered: true}
	r.mu.Lock()
	old, pending := r.lookup(id), r.reserved[id]
	if old != nil && old.owner != p && old.shared() {
		old = nil // it goes before the fleet's
	}
	switch {
	case p.gone:
		r.mu.Unlock()
		return
	case pending != nil && pending.child == p:
		pending.anew, pending.abandoned = cmd, false
		pending.later = append(pending.later, thread)
		r.mu.Unlock()
		return
	case pending != nil || old != nil && old.owner != p:
		r.mu.Unlock()
		p.acknowledge(thread, duplicate(id))
		return
	}
	router := r.router.Load()
	if old != nil || router == nil || p.router {
		r.install(cmd)
	}
	if router == nil || p.router {
		r.mu.Unlock()
		p.acknowledge(thread, nil)
		return
	}
	reg := &registration{exchange: exchange{command: id}, r: r, cmd: cmd, refresh: old != nil, child: p, threads: []string{thread}}
	if !reg.refresh {
		r.reserved[id] = reg
	}
	r.mu.Unlock()
	router.request(reg, r.cfg.RequestTTL)
}

// acknowledged takes a request from the router for a command that waits for
// the router's ack as that ack: on transports without order it may be faster.
func (r *Registry) acknowledged(id string, router *peer) *command {
	r.mu.Lock()
	reg := r.reserved[id]
	if reg != nil && !reg.begun { // the router has not been asked yet
		reg = nil
	}
	r.mu.Unlock()
	if reg == nil || !router.out.drop(&reg.exchange) {
		return r.lookup(id)
	}
	reg.settle(outcome{})
	return r.lookup(id)
}

// unreserve gives up the reservation of a registration that nobody waits for,
// here and at the router.
func (r *Registry) unreserve(reg *registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reserved[reg.command] == reg {
		delete(r.reserved, reg.command)
	}
	reg.to.withdraw(reg.command)
}
