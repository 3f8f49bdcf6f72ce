package bus

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
)

// chain composes middleware, first element outermost.
func chain(mws []message.HandlerMiddleware) message.HandlerMiddleware {
	return func(h message.HandlerFunc) message.HandlerFunc {
		for i := len(mws) - 1; i >= 0; i-- {
			h = mws[i](h)
		}
		return h
	}
}

// Wrap applies the handler middleware to h. It returns nil when none is
// configured, so that a layer can skip making a message.
func (b *Bus) Wrap(h message.HandlerFunc) message.HandlerFunc {
	if len(b.opts.Handler) == 0 {
		return nil
	}
	return chain(b.opts.Handler)(h)
}

// inbound is what is done with each message of a link: the configured
// middleware, dedupe, accept.
func (b *Bus) inbound(l *Link) message.HandlerFunc {
	return chain(b.opts.Inbound)(b.dedupe(l.seen, l.accept))
}

// dedupe is the innermost inbound middleware: requests by ID, for each link,
// events by ID, for the whole bus and in one step with being queued.
func (b *Bus) dedupe(requests *TTLStore, h message.HandlerFunc) message.HandlerFunc {
	counted := DedupeOptions{OnDuplicate: func(*message.Message) { b.dropped.Add(1) }}
	request := Dedupe(received{requests}, envelopeID, counted)(h)
	event := Dedupe(b.events, envelopeID, counted)(h)
	return func(m *message.Message) ([]*message.Message, error) {
		d, ok := DeliveryFrom(m.Context())
		switch {
		case ok && d.Envelope.Type == ExecuteRequest && d.parcel != nil:
			return b.once(d.parcel, m, h)
		case ok && d.Envelope.Type == ExecuteRequest:
			return request(m)
		case ok && d.Envelope.Type == Event:
			if b.minted.made(d.Envelope.ID) {
				b.dropped.Add(1)
				return nil, nil
			}
			b.sequence.Lock()
			defer b.sequence.Unlock()
			return event(m)
		}
		return h(m)
	}
}

// once is dedupe for a parcel. A parcel is handed over once, under an ID that its link has not used before: only inbound
// middleware can bring it again, and it is known by itself then.
func (b *Bus) once(p *parcel, m *message.Message, h message.HandlerFunc) (produced []*message.Message, err error) {
	if len(b.opts.Inbound) == 0 {
		return h(m)
	}
	if !p.accepted.CompareAndSwap(false, true) {
		b.dropped.Add(1)
		return nil, nil
	}
	ok := false
	defer func() {
		if !ok { // failed, or panicked: it may be tried again
			p.accepted.Store(false)
		}
	}()
	produced, err = h(m)
	ok = err == nil
	return produced, err
}

func envelopeID(m *message.Message) string {
	d, _ := DeliveryFrom(m.Context())
	return d.Envelope.ID
}

// received is a store for messages that are accepted as soon as they are read:
// their time counts from there, and committing would only do it again.
type received struct{ *TTLStore }

func (received) Commit(context.Context, string) error { return nil }
