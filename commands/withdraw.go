package commands

import (
	"errors"

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
			p.news.add(id)
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

// hear tells the peer its news, as they are now. What finds no room waits for it.
func (p *peer) hear() {
	p.turn.Lock()
	defer p.turn.Unlock()
	for {
		p.r.mu.Lock()
		var news []string
		if !p.mute {
			news = p.news.take()
		}
		delete(p.r.newsy, p)
		p.r.mu.Unlock()
		if len(news) == 0 {
			return
		}
		for i, id := range news {
			if errors.Is(p.tell(id), bus.ErrFull) {
				p.hearLater(news[i:])
				return
			}
		}
	}
}

// tell tells the peer whether a local command is there.
func (p *peer) tell(id string) error {
	cmd := p.r.lookup(id)
	switch here := cmd != nil && cmd.owner == nil; {
	case here && p.link.Understands(bus.CanAdvertise):
		return p.link.Send(bus.Envelope{Type: bus.ListResponse, Thread: bus.NewID(),
			Body: encodeDefinitions([]bus.Definition{cmd.def}), Durable: cmd.def.Durable})
	case !here && p.link.Understands(bus.CanWithdraw):
		return p.link.Send(bus.Envelope{Type: bus.Withdraw, Name: id})
	}
	return nil
}

// hearLater puts news back, and tells them when the link has room.
func (p *peer) hearLater(news []string) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	if p.gone {
		return
	}
	p.news.putBack(news)
	p.mute = true
	go func() {
		if !p.roomAgain() {
			return
		}
		p.r.mu.Lock()
		p.mute = false
		p.r.mu.Unlock()
		p.hear()
	}()
}

// idSet is IDs in the order in which they came, each once.
type idSet struct {
	order []string
	in    map[string]struct{}
}

func (s *idSet) add(id string) {
	if _, there := s.in[id]; there {
		return
	}
	if s.in == nil {
		s.in = make(map[string]struct{})
	}
	s.in[id] = struct{}{}
	s.order = append(s.order, id)
}

// take returns the IDs, and leaves none.
func (s *idSet) take() []string {
	order := s.order
	*s = idSet{}
	return order
}

// putBack puts IDs in front.
func (s *idSet) putBack(ids []string) {
	later := s.take()
	for _, id := range ids {
		s.add(id)
	}
	for _, id := range later {
		s.add(id)
	}
}
