package commands

import (
	"context"
	"errors"
	"sync"

	"github.com/leatbus/leat/bus"
)

// peer is what a registry knows about one link: what it asked there, and what
// it was asked. It is the link's receiver; its methods run on the pump and do
// not block.
type peer struct {
	r      *Registry
	link   *bus.Link
	router bool    // this registry escalates to it
	out    pending // requests sent and not answered

	turn sync.Mutex // held while the peer is told what this registry executes, so that it hears of each ID in order; taken before r.mu

	mu      sync.Mutex
	closed  bool              // guarded by mu: nothing is added any more
	in      idTable[*serving] // guarded by mu: requests received and not answered, by ID
	lanes   [bus.MaxDepth + 1]lane
	waiting int // guarded by mu: requests in the backlogs of all lanes
	doubts  doubts
	lists   asked

	held      int       // guarded by mu: bytes of the requests received that are not answered
	forwarded forwarded // guarded by mu: those that were sent on

	met   bool                // guarded by r.mu: the peer has answered the handshake
	gone  bool                // guarded by r.mu: the link has closed
	owned map[string]struct{} // guarded by r.mu: the commands reached through the link
	holds holding             // guarded by r.mu
	news  idSet               // guarded by r.mu: local commands that have come or gone, and it has not been told; see spread
	mute  bool                // guarded by r.mu: it is told when there is room again
	up    *uplink             // of a router; else nil
}

func (r *Registry) newPeer(l *bus.Link) bus.Receiver {
	p := &peer{
		r:      r,
		link:   l,
		router: l.ID() == r.cfg.RouterChannel,
		owned:  make(map[string]struct{}),
	}
	p.out.open()
	if p.router {
		p.up = newUplink(p)
	}
	return p
}

// Opened escalates what was registered before the router was there.
func (p *peer) Opened() {
	p.r.mu.Lock()
	p.r.peers[p.link.ID()] = p
	if p.router {
		p.r.router.Store(p)
		p.up.begin()
	}
	p.r.mu.Unlock()
	if p.router {
		p.r.converge()
	}
}

// ReceivesValues says that requests and replies may come without a Body.
func (*peer) ReceivesValues() {}

// Receive dispatches the messages that are about commands.
func (p *peer) Receive(d *bus.Delivery) bool {
	e := &d.Envelope
	switch e.Type {
	case bus.ExecuteRequest:
		p.requested(d)
	case bus.ExecuteResponse, bus.RegisterResponse:
		p.answered(d)
	case bus.Cancel:
		p.cancel(e.Thread)
	case bus.RegisterRequest:
		p.registered(d)
	case bus.ListRequest:
		p.asked(e.ID)
	case bus.ListResponse:
		p.listed(d)
	case bus.Withdraw:
		p.r.withdraw(e.Name, p)
	default:
		return false
	}
	return true
}

// Unsent settles a request that could not be published. An answer that is
// lost leaves the peer to its timeout, unless it was too large: it was logged and counted.
func (p *peer) Unsent(t bus.Type, id string, err error) {
	if t != bus.ExecuteRequest && t != bus.RegisterRequest {
		return
	}
	ex := p.out.take(id)
	switch {
	case ex == nil:
	case errors.Is(err, bus.ErrTooLarge):
		ex.owner.settle(outcome{err: sendFailure(ex.command, p, err)})
	default:
		ex.owner.settle(outcome{err: disconnected(ex.command, p.link.ID(), err)})
	}
}

// Closed fails what waits on the link, refuses what waits to be served,
// cancels what is being served, and withdraws the commands that were reached
// through it.
func (p *peer) Closed(err error) {
	p.mu.Lock()
	p.closed = true
	in := p.in
	p.in = idTable[*serving]{}
	var refused []*serving
	for i := range p.lanes {
		refused = append(refused, p.lanes[i].backlog...)
		p.lanes[i].backlog, p.lanes[i].gone = nil, 0
	}
	p.waiting = 0
	p.doubts.stop()
	if t := p.forwarded.timer; t != nil {
		t.Stop()
	}
	p.mu.Unlock()
	out := p.out.close()

	p.r.removePeer(p, err)
	for _, ex := range out {
		ex.owner.settle(outcome{err: disconnected(ex.command, p.link.ID(), err)})
	}
	for _, s := range refused {
		if s.gone {
			continue
		}
		p.unstarted(s.Envelope.ID, disconnected(s.Envelope.Name, p.link.ID(), nil))
		p.r.bus.End()
	}
	for s := range in.all() {
		s.leave(context.Canceled)
	}
}

// answer sends an answer, and waits for nothing. A reply that cannot be sent, or finds no room, is replaced by an error,
// which is small and has more. What finds no room even then is dropped: the link counts it, and the
// peer's request runs into its timeout.
func (p *peer) answer(e bus.Envelope) {
	send := p.link.Send
	if e.Type == bus.ExecuteResponse && e.Fault == nil { // failures come many at a time, and where no publisher must run: they queue
		send = p.link.Relay
	}
	err := send(e)
	switch {
	case err == nil || errors.Is(err, bus.ErrClosed):
	case e.Type != bus.ExecuteResponse && e.Type != bus.RegisterResponse:
		if errors.Is(err, bus.ErrFull) { // the link has counted it, and logs it once in a while
			return
		}
		p.r.log.Error("answer not sent", "channel", p.link.ID(), "type", string(e.Type), "error", err.Error())
	default:
		if n := p.r.stats.replaced.Add(1); n&(n-1) == 0 {
			p.r.log.Warn("reply replaced by an error", "channel", p.link.ID(), "thread", e.Thread, "error", err.Error(), "replaced", n)
		}
		e.Body, e.Value, e.Metadata = nil, nil, nil
		e.Fault = &bus.Fault{Code: string(Internal), Message: "the reply could not be sent: " + err.Error()}
		_ = p.link.Send(e)
	}
}
