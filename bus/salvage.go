package bus

import (
	"errors"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/internal/payload"
)

// headBytes is how much of a message that is too large is read for its type and its IDs, so that it can be answered. The
// protocol's own order has them first.
const headBytes = 4096

// salvage makes of a message that was refused what tells those that wait for it:
// of a reply a failure, of a request that is too large its name. It reports
// whether something waits for it.
func (l *Link) salvage(d *Delivery, err error) bool {
	e, large := d.Envelope, errors.Is(err, ErrTooLarge)
	if d.parcel == nil {
		e = l.head(d.Message, large)
	}
	if len(e.ID) > MaxIDBytes || len(e.Thread) > MaxIDBytes {
		return false
	}
	switch e.Type {
	case ExecuteResponse, RegisterResponse:
		what := "malformed reply: "
		if large {
			what = "reply: "
		}
		d.Envelope = Envelope{ID: e.ID, Type: e.Type, Thread: e.Thread, Fault: &Fault{Code: "internal_error", Message: what + err.Error()}}
		d.Envelope.trim(l.bus.opts.MaxMessageBytes)
		return e.Thread != ""
	case ExecuteRequest, RegisterRequest:
		d.Envelope = Envelope{ID: e.ID, Type: e.Type}
		return e.ID != "" && large
	}
	return false
}

// head reads the type and the names of a message, as far as they can be read.
func (l *Link) head(m *message.Message, large bool) (e Envelope) {
	if t := Type(m.Metadata[keyType]); l.codec != JSON || t.Control() {
		e.Type = t
		e.ID, e.Thread = l.headName(m, keyID), l.headName(m, keyThread)
		return e
	}
	data := []byte(m.Payload)
	if large {
		data = data[:min(len(data), headBytes)]
	}
	var t string
	payload.Head(data, map[string]*string{"id": &e.ID, "type": &t, "thid": &e.Thread})
	e.Type = Type(t)
	return e
}

// headName returns a name from the metadata, empty if it cannot be read.
func (l *Link) headName(m *message.Message, key string) string {
	v := m.Metadata[key]
	if len(v) > 3*MaxIDBytes { // as long as escaping makes it
		return ""
	}
	name, err := unescape(v)
	if err != nil {
		return ""
	}
	return name
}

// refuse answers a request that is not going to be looked at. A foreign peer
// could be told a wrong reason only of a registration: it is told nothing.
func (l *Link) refuse(e *Envelope, err error) {
	answer := Envelope{Type: ExecuteResponse, Thread: e.ID, Fault: &Fault{Code: "invalid_request", Message: err.Error()}}
	if e.Type == RegisterRequest {
		if !l.Understands(CanWithdraw) {
			return
		}
		answer.Type = RegisterResponse
	}
	_ = l.Send(answer)
}
