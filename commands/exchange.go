package commands

import (
	"fmt"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/payload"
)

// exchange is one request that was sent on a link and is not answered yet.
// The goroutine that takes it out of its peer's table settles it, so it is settled
// exactly once: by the reply, the deadline, the caller that leaves, a failed
// send, or the end of the link.
type exchange struct {
	idEntry[*exchange]        // id is that on the wire; guarded by its pendingPart's mu
	slot                      // its deadline; likewise
	command            string // the command's ID
	to                 *peer  // the link it was sent on; only a reply from there counts
	listed             bool   // it was sent to the command's owner, not to the router
	owner              settler
	inLine             atomic.Bool // it waits for room on the link: the peer has not heard of it
}

// settler is what waits for the answer: a call made here, a request forwarded
// for another link, or a registration.
type settler interface {
	// settle is called once, on the goroutine that settles; it must not block.
	settle(outcome)
	// answer is the type of the message that answers the exchange.
	answer() bus.Type
}

func (*call) answer() bus.Type    { return bus.ExecuteResponse }
func (*route) answer() bus.Type   { return bus.ExecuteResponse }
func (*attempt) answer() bus.Type { return bus.RegisterResponse }

// outcome is how an exchange ended: with a reply, or with err.
type outcome struct {
	payload.Content
	fault    *bus.Fault
	metadata message.Metadata
	free     bool   // see bus.Envelope.Free
	err      *Error // instead of a reply
}

// failed returns the failure as an error, nil for a success.
func (o *outcome) failed(command string) *Error {
	switch {
	case o.err != nil:
		return o.err
	case o.fault != nil:
		return fromFault(command, o.fault)
	}
	return nil
}

// answered settles the exchange that a response belongs to. One of the wrong
// type is rejected, and the exchange waits on.
func (p *peer) answered(d *bus.Delivery) {
	e := &d.Envelope
	ex, wrong := p.out.answered(e.Thread, e.Type)
	switch {
	case wrong:
		p.link.Reject(d, fmt.Errorf("a %s for a request of another kind", e.Type))
		return
	case ex == nil:
		p.r.stats.late.Add(1)
		return
	}
	if e.Fault != nil && Code(e.Fault.Code) == NotFound && ex.listed {
		p.missing(ex.command, e.Fault)
	}
	ex.owner.settle(outcome{Content: payload.Content{Body: e.Body, Value: e.Value}, fault: e.Fault, metadata: e.Metadata, free: e.Free})
}

// missing handles the not_found of a peer that was asked because the table says
// that it has the command. Only routing at that peer knows that it does not:
// peers of our kind mark that. A handler may say not_found too, and a request
// that has made too many hops says nothing about the last of the registries
// that it has passed; where it may have been either, the peer's list tells.
func (p *peer) missing(id string, f *bus.Fault) {
	switch {
	case f.Unrouted:
		p.r.evict(id, p)
		f.Unrouted = p.r.lookup(id) == nil // else this registry has got it from another peer meanwhile
	case f.Looped, !p.link.Understands(bus.CanWithdraw):
		p.doubt(id)
	}
}

// cancelled tells the peer that a request has no caller, if it has heard of it.
func (p *peer) cancelled(ex *exchange) {
	if p.link.Understands(bus.CanCancel) && !ex.inLine.Load() {
		_ = p.link.Send(bus.Envelope{Type: bus.Cancel, Thread: ex.id})
	}
}
