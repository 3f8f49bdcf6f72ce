package commands

import (
	"errors"
	"fmt"
	"time"

	"github.com/leatbus/leat/bus"
)

// reservation keeps an ID for a command that the router has not acknowledged
// yet: one that is being registered here, or that a child has registered.
type reservation struct {
	cmd      *command
	child    *peer      // the peer that registers it; or nil
	done     chan error // capacity 1: the Register call that waits; or nil
	deadline time.Time  // of that call
}

// reserve keeps an ID. r.mu is held.
func (r *Registry) reserve(res *reservation) {
	r.reserved[res.cmd.def.ID] = res
	r.hold(res.cmd)
	r.touch(res.cmd.def.ID)
}

// unreserve gives the ID up. r.mu is held.
func (r *Registry) unreserve(res *reservation) {
	delete(r.reserved, res.cmd.def.ID)
	r.drop(res.cmd)
}

// fulfil makes a command of what was reserved for it. r.mu is held.
func (r *Registry) fulfil(res *reservation) {
	r.unreserve(res)
	r.install(res.cmd)
	if res.done != nil {
		r.spread(res.cmd.def.ID)
		r.notices = append(r.notices, notice{done: res.done})
	}
}

// abandon gives up what was reserved, and says so to the Register call that waits. r.mu is held.
func (r *Registry) abandon(res *reservation, err error) {
	r.unreserve(res)
	if res.done != nil {
		r.notices = append(r.notices, notice{done: res.done, err: err})
	}
	r.touch(res.cmd.def.ID)
}

// notice is what a caller or a child is to be told when r.mu is free.
type notice struct {
	done    chan error // a Register call
	child   *peer      // that has registered
	thread  string     // has ended
	refused string     // the command that the router has refused
	times   uint64     // it has refused so many
	err     error
}

// converge does what has become due: it tells the router, and those that wait for
// its answers. To be called when what is wanted has changed, without r.mu. It does not block.
func (r *Registry) converge() {
	if router := r.router.Load(); router != nil {
		router.up.run()
	}
	r.spreadNews()
	r.tell()
}

func (r *Registry) tell() {
	r.mu.Lock()
	notices := r.notices
	r.notices = nil
	r.mu.Unlock()
	for i := range notices {
		n := &notices[i]
		switch {
		case n.done != nil:
			n.done <- n.err
		case n.child != nil:
			n.child.acknowledge(n.thread, n.err)
		default:
			r.log.Warn("router refused command, keeping it local", "command", n.refused, "refusals", n.times,
				"code", string(CodeOf(n.err)), "error", n.err.Error())
		}
	}
}

// acknowledge answers a registration of the peer. The canonical form has one
// word for a refusal; a foreign peer is not told a wrong one, it times out.
func (p *peer) acknowledge(thread string, err error) {
	e := bus.Envelope{Type: bus.RegisterResponse, Thread: thread}
	var refused *Error
	if errors.As(err, &refused) && refused != nil {
		if !refused.final() && !p.tells() {
			return
		}
		e.Fault = refused.fault()
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
	thread, from := d.Envelope.ID, path(d.Envelope.Key)
	switch {
	case isPrivate(def.ID):
		p.link.Reject(d, errors.New("private command "+def.ID))
		p.acknowledge(thread, &Error{Code: InvalidRequest, Command: def.ID, Message: "private command: " + def.ID})
		return
	case from.has(p.r.token):
		p.acknowledge(thread, nil) // the routers are in a cycle: this registry is where it comes from
		return
	case from.tooLong():
		p.acknowledge(thread, &Error{Code: InvalidRequest, Command: def.ID,
			Message: fmt.Sprintf("%s: registered through more than %d registries", def.ID, maxPath)})
		return
	}
	cmd := &command{def: def, owner: p, registered: true, path: from}
	cmd.bytes = cmd.size() + len(thread)
	p.r.mu.Lock()
	if p.gone {
		p.r.mu.Unlock()
		return
	}
	waits, refused := p.takes(cmd, thread)
	p.r.mu.Unlock()
	if !waits {
		p.acknowledge(thread, asError(refused))
	}
	p.r.converge()
}

// asError is err as an interface, which is nil where err is.
func asError(err *Error) error {
	if err == nil {
		return nil
	}
	return err
}

// takes decides about a registration of the peer. It reports whether that waits for the router. r.mu is held.
//
// Whatever the peer has registered before, the last word counts: a registration
// that still waits is taken over by the next one, with the same ID of the same peer.
func (p *peer) takes(cmd *command, thread string) (waits bool, refused *Error) {
	r, id := p.r, cmd.def.ID
	old, res := r.lookup(id), r.reserved[id]
	if old != nil && old.owner != p && old.shared() {
		old = nil // it goes before the fleet's
	}
	switch {
	case res != nil && res.child != p, old != nil && old.owner != p:
		return false, duplicate(id)
	case !r.fits(cmd, old, res):
		return false, tooMany(cmd)
	}
	router := r.router.Load()
	switch {
	case router == nil || router.link.Absent() || p.router:
		r.install(cmd)
		return false, nil
	case res != nil:
		r.drop(res.cmd)
		r.hold(cmd)
		res.cmd = cmd
	case old != nil:
		r.install(cmd)
	default:
		r.reserve(&reservation{cmd: cmd, child: p})
	}
	router.up.wait(waiter{child: p, thread: thread, cmd: cmd})
	return true, nil
}

// acknowledged takes a request from the router for a command that waits for
// the router's ack as that ack: on transports without order it may be faster.
func (r *Registry) acknowledged(id string, router *peer) *command {
	var a *attempt
	r.mu.Lock()
	if r.reserved[id] != nil {
		if c := router.up.claims[id]; c != nil {
			a = c.attempt
		}
	}
	r.mu.Unlock()
	if a != nil && router.out.drop(&a.exchange) {
		a.settle(outcome{})
	}
	return r.lookup(id)
}
