package commands

import (
	"github.com/leatbus/leat/bus"
)

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

// resend registers again with a router that has come late what was sent when it may not have listened yet.
func (p *peer) resend() {
	var waiting []*registration
	p.out.each(func(ex *exchange) {
		if reg, ok := ex.owner.(*registration); ok && !reg.refresh {
			waiting = append(waiting, reg)
		}
	})
	for _, reg := range waiting { // under the same ID: the first answer counts
		_ = p.link.Send(bus.Envelope{ID: reg.id, Type: bus.RegisterRequest, Body: encodeDefinitions(reg.cmd.def), Durable: reg.cmd.def.Durable})
	}
	p.escalateAll()
}
