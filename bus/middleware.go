package bus

import (
	"context"
	"fmt"
	"hash/maphash"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus/dedupe"
	"github.com/leatbus/leat/internal/pattern"
	"github.com/leatbus/leat/internal/payload"
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
func (b *Bus) dedupe(requests *dedupe.TTLStore, h message.HandlerFunc) message.HandlerFunc {
	request := dedupe.Middleware(received{requests}, envelopeID, dedupe.Options{
		InFlight:    dedupe.OneAtATime,
		OnDuplicate: func(*message.Message) { b.dropped.Add(1) },
	})(h)
	return func(m *message.Message) ([]*message.Message, error) {
		d, ok := DeliveryFrom(m.Context())
		switch {
		case ok && d.Envelope.Type == ExecuteRequest && d.parcel != nil:
			return b.once(d.parcel, m, h)
		case ok && d.Envelope.Type == ExecuteRequest:
			return request(m)
		case ok && d.Envelope.Type == Event:
			return b.hear(d, m, h)
		}
		return h(m)
	}
}

// hear is dedupe for an event. What fails behind it is not tried again: some of the listeners may have it.
func (b *Bus) hear(d *Delivery, m *message.Message, h message.HandlerFunc) ([]*message.Message, error) {
	e := &d.Envelope
	if b.minted.made(e.ID) {
		b.dropped.Add(1)
		return nil, nil
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	b.sequence.Lock()
	defer b.sequence.Unlock()
	v, err := b.events.hear(e.ID, d.Link.route(e), d.Link.ID())
	switch {
	case err != nil:
		return nil, err
	case v == heardOld:
		b.dropped.Add(1)
		return nil, nil
	case v == overtaken:
		d.Link.overtaken(e.Name)
		return nil, nil
	}
	return h(m)
}

// check refuses an event that no bus emits. A value comes from Go, and the JSON codec has read what it took.
func (d *Delivery) check() error {
	e := &d.Envelope
	if e.Checked {
		return nil
	}
	if err := pattern.CheckID(e.Name); err != nil {
		return err
	}
	if e.Body != nil && e.Value == nil && d.Link.codec != JSON {
		if err := payload.Valid(e.Body); err != nil {
			return fmt.Errorf("event %q: payload: %w", e.Name, err)
		}
	}
	e.Checked = true
	return nil
}

// route names the way on which an event came: the link, and where that leads to many processes the one that sent it.
func (l *Link) route(e *Envelope) uint64 {
	if e.Key == "" || !l.Understands(Shared) {
		return l.serial
	}
	return l.serial ^ maphash.String(l.bus.seed, e.Key)
}

// overtaken counts an event that came after a later one of its emitter had come on another route, and logs it once in a
// while: in a goroutine, since the sequence is held, and a logger is user code.
func (l *Link) overtaken(id string) {
	l.bus.overtaken.Add(1)
	if n := l.stats.overtaken.Add(1); n&(n-1) == 0 {
		go l.log.Warn("event dropped, a later one of its emitter has come over another link", "event", id, "overtaken", n)
	}
}

// once is dedupe for a parcel. A parcel is handed over once, under an ID that its link has not used before: only inbound
// middleware can bring it again, and it is known by itself then.
func (b *Bus) once(p *parcel, m *message.Message, h message.HandlerFunc) (produced []*message.Message, err error) {
	if len(b.opts.Inbound) == 0 {
		return h(m)
	}
	if p.state.Or(parcelAccepted)&parcelAccepted != 0 {
		b.dropped.Add(1)
		return nil, nil
	}
	ok := false
	defer func() {
		if !ok { // failed, or panicked: it may be tried again
			p.state.And(^uint32(parcelAccepted))
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
type received struct{ *dedupe.TTLStore }

func (received) Commit(context.Context, string) error { return nil }
