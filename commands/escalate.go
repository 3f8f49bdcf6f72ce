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
}

// request sends the registration to the router. It always settles.
func (p *peer) request(reg *registration, ttl time.Duration) {
	reg.owner = reg
	if !p.begin(&reg.exchange, bus.NewID(), ttl) {
		reg.settle(outcome{err: disconnected(reg.command, p.link.ID(), bus.ErrNotConnected)})
		return
	}
	err := p.link.Send(bus.Envelope{ID: reg.id, Type: bus.RegisterRequest, Body: encodeDefinitions(reg.cmd.def)})
	if err != nil && p.drop(&reg.exchange) {
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
	r.mu.Unlock()
	if reg == nil || !router.drop(&reg.exchange) {
		return r.lookup(id)
	}
	reg.settle(outcome{})
	return r.lookup(id)
}

// escalation is what is still to be registered with a router that has come up.
type escalation struct{ todo []*command }

// escalationWindow bounds the registrations under way at once, so that a
// registry with very many commands does not fill the link's queue.
const escalationWindow = 256

// escalateAll registers with the router what was registered here before it
// was there.
func (p *peer) escalateAll() {
	r := p.r
	r.mu.Lock()
	r.table.Range(func(_, v any) bool {
		cmd := v.(*command)
		if !isPrivate(cmd.def.ID) && cmd.owner != p && (cmd.owner == nil || cmd.registered) {
			p.escalating.todo = append(p.escalating.todo, cmd)
		}
		return true
	})
	r.mu.Unlock()
	for range min(escalationWindow, (r.bus.Options().QueueSize+1)/2) {
		if !p.escalateNext() {
			return
		}
	}
}

func (p *peer) escalateNext() bool {
	r := p.r
	r.mu.Lock()
	var cmd *command
	for cmd == nil && len(p.escalating.todo) > 0 {
		next := p.escalating.todo[0]
		p.escalating.todo = p.escalating.todo[1:]
		if r.lookup(next.def.ID) == next { // else it was unregistered or replaced meanwhile
			cmd = next
		}
	}
	r.mu.Unlock()
	if cmd == nil {
		return false
	}
	p.request(&registration{exchange: exchange{command: cmd.def.ID}, r: r, cmd: cmd, refresh: true}, r.cfg.RequestTTL)
	return true
}

// list answers a list.commands.request.
func (p *peer) list(thread string) {
	limit := p.r.bus.Options().MaxMessageBytes - listOverhead - len(thread)
	for _, defs := range split(p.r.public(), limit) {
		p.answer(bus.Envelope{Type: bus.ListResponse, Thread: thread, Body: encodeDefinitions(defs)})
	}
}

// listOverhead is what the canonical form adds to an array of definitions, and some.
const listOverhead = 256

// split cuts a list that does not fit into one message into several, of which
// the first answers and the rest are lists that nobody asked for. A definition
// that is too large by itself ends up alone, and is refused where it is sent.
func split(defs []bus.Definition, limit int) [][]bus.Definition {
	if len(defs) < 2 || len(encodeDefinitions(defs)) <= limit {
		return [][]bus.Definition{defs}
	}
	half := len(defs) / 2
	return append(split(defs[:half], limit), split(defs[half:], limit)...)
}

// listed takes what the peer says it executes. It never replaces a local
// command, or one of another channel.
func (p *peer) listed(d *bus.Delivery) {
	defs, err := d.Envelope.Definitions()
	if err != nil {
		p.link.Reject(d, err)
		return
	}
	first, ignored := p.install(defs)
	if ignored > 0 {
		p.r.stats.conflicts.Add(uint64(ignored))
		p.r.log.Debug("listed commands ignored: they are private, or another's", "channel", p.link.ID(), "commands", ignored)
	}
	if first && p.router && p.link.Repeated() {
		p.resend()
	}
}

// resend registers again with a router that has come late what was sent when it may not have listened yet.
func (p *peer) resend() {
	var waiting []*registration
	p.mu.Lock()
	for _, ex := range p.out {
		if reg, ok := ex.owner.(*registration); ok && !reg.refresh {
			waiting = append(waiting, reg)
		}
	}
	p.mu.Unlock()
	for _, reg := range waiting { // under the same ID: the first answer counts
		_ = p.link.Send(bus.Envelope{ID: reg.id, Type: bus.RegisterRequest, Body: encodeDefinitions(reg.cmd.def)})
	}
	p.escalateAll()
}

// install puts what the peer lists into the table. It reports whether this is
// the peer's first list, and how many it did not take.
func (p *peer) install(defs []bus.Definition) (first bool, ignored int) {
	r := p.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.gone {
		return false, 0
	}
	first = !p.met
	p.meet()
	for _, def := range defs {
		old := r.lookup(def.ID)
		switch {
		case isPrivate(def.ID), r.reserved[def.ID] != nil, old != nil && old.owner != p:
			ignored++
		default:
			r.install(&command{def: def, owner: p, registered: old != nil && old.registered})
		}
	}
	return first, ignored
}

// withdraw forgets a command that its peer no longer executes, here and up the tree.
func (r *Registry) withdraw(id string, from *peer) {
	r.mu.Lock()
	if reg := r.reserved[id]; reg != nil && reg.child == from {
		reg.abandoned = true
	}
	cmd := r.lookup(id)
	if cmd == nil || cmd.owner != from {
		r.mu.Unlock()
		return
	}
	r.remove(cmd)
	r.withdrawUp(cmd, from)
	r.mu.Unlock()
}

// evict forgets a command that its peer turned out not to have.
func (r *Registry) evict(id string, from *peer) {
	r.stats.evicted.Add(1)
	r.withdraw(id, from)
}

// withdrawUp tells the router about a command that was registered with it. r.mu is held.
func (r *Registry) withdrawUp(cmd *command, from *peer) {
	if router := r.router.Load(); router != nil && router != from && cmd.registered {
		router.withdraw(cmd.def.ID)
	}
}

// withdraw tells the peer that this registry no longer executes a command. r.mu
// is held, so that a registration of the same ID which comes next is sent next.
// What a router may have been told before it has said what it understands is withdrawn then.
func (p *peer) withdraw(id string) {
	switch {
	case p.link.Understands(bus.CanWithdraw):
		_ = p.link.Send(bus.Envelope{Type: bus.Withdraw, Name: id})
	case p.router && !p.met && !p.gone:
		if p.unsaid == nil {
			p.unsaid = make(map[string]struct{})
		}
		p.unsaid[id] = struct{}{}
	}
}

// meet withdraws what could not be withdrawn before the handshake. r.mu is held.
func (p *peer) meet() {
	p.met = true
	for id := range p.unsaid {
		if cmd := p.r.lookup(id); (cmd == nil || cmd.owner == p) && p.r.reserved[id] == nil {
			p.withdraw(id)
		}
	}
	p.unsaid = nil
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
