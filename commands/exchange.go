package commands

import (
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/payload"
)

// exchange is one request that was sent on a link and is not answered yet.
// Whoever takes it out of its peer's table settles it, so it is settled
// exactly once: by the reply, the deadline, the caller who leaves, a failed
// send, or the end of the link.
type exchange struct {
	id       string    // on the wire
	command  string    // the command's ID
	to       *peer     // the link it was sent on; only a reply from there counts
	deadline time.Time // when it expires
	index    int       // guarded by its pendingPart's mu: place in the heap, 0 when not in it
	listed   bool      // it was sent to the command's owner, not to the router
	owner    settler
}

// settler is what waits for the answer: a call made here, a request forwarded
// for another link, or a registration.
type settler interface {
	// settle is called once, on the goroutine that settles; it must not block.
	settle(outcome)
}

// outcome is how an exchange ended: with a reply, or with err.
type outcome struct {
	payload.Content
	fault    *bus.Fault
	metadata message.Metadata
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

// answered settles the exchange that a response belongs to.
func (p *peer) answered(e *bus.Envelope) {
	ex := p.out.take(e.Thread)
	if ex == nil {
		p.r.stats.late.Add(1)
		return
	}
	o := outcome{Content: payload.Content{Body: e.Body, Value: e.Value}, fault: e.Fault, metadata: e.Metadata}
	if p.stale(ex, e.Fault) {
		e.Fault.Unrouted = true
		p.r.evict(ex.command, p)
	}
	ex.owner.settle(o)
}

// stale reports whether the peer says that it does not have a command which
// the table says it has. A handler may answer not_found too: peers of our
// kind tell the two apart, others route only.
func (p *peer) stale(ex *exchange, f *bus.Fault) bool {
	if f == nil || !ex.listed || Code(f.Code) != NotFound {
		return false
	}
	return f.Unrouted || !p.link.Understands(bus.CanWithdraw)
}

// cancelled tells the peer that the request with that ID has no caller.
func (p *peer) cancelled(id string) {
	if p.link.Understands(bus.CanCancel) {
		_ = p.link.Send(bus.Envelope{Type: bus.Cancel, Thread: id})
	}
}
