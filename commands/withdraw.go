package commands

import (
	"github.com/leatbus/leat/bus"
)

// withdraw forgets a command that its peer no longer executes, here and up the tree.
func (r *Registry) withdraw(id string, from *peer) {
	r.mu.Lock()
	if res := r.reserved[id]; res != nil && res.child == from {
		r.abandon(res, nil)
	}
	if c := r.covered[id]; c != nil && c.owner == from {
		r.dropCovered(id)
	}
	if cmd := r.lookup(id); cmd != nil && cmd.owner == from {
		r.remove(cmd)
	}
	if router := r.router.Load(); router != nil && router != from {
		router.up.left(id, from)
	}
	r.mu.Unlock()
	r.converge()
}

// evict forgets a command that its peer turned out not to have.
func (r *Registry) evict(id string, from *peer) {
	r.stats.evicted.Add(1)
	r.withdraw(id, from)
}

// withdraw tells the peer that this registry no longer executes a command. r.mu is held. The router's uplink does it
// for the router.
func (p *peer) withdraw(id string) {
	if !p.router && p.link.Understands(bus.CanWithdraw) {
		_ = p.link.Send(bus.Envelope{Type: bus.Withdraw, Name: id})
	}
}
