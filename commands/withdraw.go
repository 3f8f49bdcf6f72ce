package commands

import (
	"github.com/leatbus/leat/bus"
)

// withdraw forgets a command that its peer no longer executes, here and up the tree.
func (r *Registry) withdraw(id string, from *peer) {
	r.mu.Lock()
	if reg := r.reserved[id]; reg != nil && reg.child == from {
		reg.abandoned = true
	}
	if c := r.covered[id]; c != nil && c.owner == from {
		delete(r.covered, id)
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
