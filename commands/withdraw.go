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

// denied is to be called when the peer has been answered not_found in the name of routing. A router forgets
// the command then: if it is wanted by now, it is registered again.
func (p *peer) denied(id string) {
	if p.up == nil {
		return
	}
	p.r.mu.Lock()
	p.up.lose(id)
	p.r.mu.Unlock()
	p.r.converge()
}

// spread has the peers other than the router told whether a local command is there. r.mu is held; converge does it.
func (r *Registry) spread(id string) {
	if isPrivate(id) {
		return
	}
	for _, p := range r.peers {
		if !p.router && (p.link.Understands(bus.CanAdvertise) || p.link.Understands(bus.CanWithdraw)) {
			p.news = append(p.news, id)
			r.newsy[p] = struct{}{}
		}
	}
}

// spreadNews tells the peers what spread has noted.
func (r *Registry) spreadNews() {
	r.mu.Lock()
	peers := make([]*peer, 0, len(r.newsy))
	for p := range r.newsy {
		peers = append(peers, p)
	}
	r.mu.Unlock()
	for _, p := range peers {
		p.hear()
	}
}

// hear tells the peer its news, as they are now.
func (p *peer) hear() {
	p.turn.Lock()
	defer p.turn.Unlock()
	for {
		p.r.mu.Lock()
		news := p.news
		p.news = nil
		delete(p.r.newsy, p)
		p.r.mu.Unlock()
		if len(news) == 0 {
			return
		}
		for _, id := range news {
			cmd := p.r.lookup(id)
			switch here := cmd != nil && cmd.owner == nil; {
			case here && p.link.Understands(bus.CanAdvertise):
				_ = p.link.Send(bus.Envelope{Type: bus.ListResponse, Thread: bus.NewID(),
					Body: encodeDefinitions([]bus.Definition{cmd.def}), Durable: cmd.def.Durable})
			case !here && p.link.Understands(bus.CanWithdraw):
				_ = p.link.Send(bus.Envelope{Type: bus.Withdraw, Name: id})
			}
		}
	}
}
