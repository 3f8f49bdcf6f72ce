package commands

import (
	"fmt"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/payload"
)

// unreadable refuses a request that the peer cannot read. In the protocol's canonical
// form a request is an object; registries of our kind take any JSON, and say
// that they are such. A null is passed on: it stands for no request.
func (p *peer) unreadable(id string, in payload.Content) *Error {
	if p.link.Binary() || in.Body == nil && in.Value == nil || p.link.Understands(bus.CanWithdraw) || !p.ready() {
		return nil
	}
	if kind := payload.Kind(in.JSON()); kind != "object" && kind != "null" {
		return &Error{Code: InvalidRequest, Command: id,
			Message: fmt.Sprintf("invalid request: channel %q takes an object as the request, not %s", p.link.ID(), kind)}
	}
	return nil
}

// ready reports whether the peer has said what it is.
func (p *peer) ready() bool {
	select {
	case <-p.link.Ready():
		return true
	default:
		return false
	}
}
