package fleet

import (
	"github.com/leatbus/leat/bus"
)

// What the broker does not take is refused by the link of the registry, which asks how large it would be: see bus.EnvelopeSizer.
// What it refuses in spite of that is given up at once, alone.

// singleRoom is more than a fleet adds to the message of an event, or of a durable request, in bytes: its own metadata.
const singleRoom = 3 << 10

// maxBytes returns how large a message to a topic may be; 0: there is no need to know.
func (f *Fleet) maxBytes(topic string) int {
	limit := f.opts.MaxMessageBytes
	if f.sized != nil {
		if most := f.sized.MaxBytes(topic); most > 0 && (limit == 0 || most < limit) {
			return most
		}
	}
	return limit
}

// SizeOf implements bus.EnvelopeSizer, for requests, replies and events.
func (p registryPublisher) SizeOf(e bus.Envelope) (n, limit int) {
	f, topic, single := p.f, "", false
	switch e.Type {
	case bus.Event:
		topic, single = f.names.events, true
	case bus.ExecuteRequest, bus.ExecuteResponse:
		topic = f.names.inbox
	default:
		return 0, 0
	}
	if limit = f.maxBytes(topic); limit == 0 {
		return 0, 0
	}
	n = headSize + len(f.self.id) + 2*len(f.self.session) + sizeOfEnvelope(&e)
	if e.Value != nil {
		n += e.Value.Size()
	}
	if f.keys != nil {
		n += signedSize
	}
	if e.Type == bus.ExecuteRequest && 3*n+singleRoom > limit {
		single = f.outlives(&e)
	}
	if !single || 3*n+singleRoom <= limit { // escaping makes metadata three times as long at most
		return n, limit
	}
	m, err := (&letter{process: f.self, envelope: e}).seal()
	if err != nil {
		return n, limit
	}
	return bus.MessageSize(m) + singleRoom, limit
}
