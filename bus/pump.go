package bus

import (
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/internal/contain"
)

// pump receives. It acks each message on receipt, since publishers may wait
// for the ack while they hold locks, and never blocks: what may take time is
// queued, or runs in a goroutine of its own.
//
// Code that is not leat's and ends the goroutine, in inbound middleware say, costs
// its message: another goroutine goes on.
func (l *Link) pump(in <-chan *message.Message) {
	exited := true
	defer func() {
		if exited {
			l.workers.Go(func() { l.pump(in) })
		}
	}()
	for {
		select {
		case m, ok := <-in:
			if !ok {
				l.peerClosed(errSubscriptionEnded)
				exited = false
				return
			}
			if m == nil {
				l.stats.rejected.Add(1)
				continue
			}
			m.Ack()
			l.receive(m)
		case <-l.subCtx.Done():
			exited = false
			return
		}
	}
}

var errSubscriptionEnded = fmt.Errorf("%w: subscription ended", ErrPeerClosed)

// called is the pump of a subscription that calls.
func (l *Link) called(m *message.Message) {
	if !l.awaitStart() {
		return
	}
	if l.bus.readers {
		m.Ack() // nothing waits for it; middleware may look
	}
	if len(l.bus.opts.Inbound) > 0 {
		_ = contain.Do(func() { l.receive(m) }) // the goroutine is the publisher's; dispatch has said what happened
		return
	}
	if d := l.receive(m); d != nil {
		d.recycle(m)
	}
}

// awaitStart reports whether the link has started. One that could not be attached never does.
func (l *Link) awaitStart() bool {
	if l.begun.Load() {
		return true
	}
	select {
	case <-l.started:
		return true
	case <-l.subCtx.Done():
		return false
	}
}

// waitEnded is all that is left of the pump's goroutine then.
func (l *Link) waitEnded(ended <-chan struct{}) {
	<-ended
	if l.subCtx.Err() == nil {
		l.peerClosed(errSubscriptionEnded)
	}
}

// Deliver gives the link a message that the owner of its channel received: a
// message.NoPublishHandlerFunc, for a channel without a Subscriber that runs
// inside a message.Router. It never blocks for long, and returns nil: what is
// wrong with a message is logged and counted, since redelivering would not
// mend it. After the link has closed, messages are counted and forgotten.
//
// Calls are handled one at a time; their order is the order in which they are
// made. A Router runs a goroutine per message, so its subscriber must hand
// out one unacked message at a time where the order of events matters.
func (l *Link) Deliver(m *message.Message) error {
	select {
	case <-l.ctx.Done():
		l.stats.rejected.Add(1)
		return nil
	default:
	}
	if m == nil {
		l.stats.rejected.Add(1)
		return nil
	}
	_ = contain.Do(func() { l.receive(m) }) // the goroutine is the router's; dispatch has said what happened
	return nil
}

// receive decodes one message and sends it through the inbound middleware. It returns what it made of it, nil if
// it was refused.
func (l *Link) receive(m *message.Message) *Delivery {
	l.receiving.Lock()
	defer l.receiving.Unlock()
	l.stats.received.Add(1)
	if err := l.checkKey(m); err != nil {
		l.stats.forged.Add(1)
		l.Reject(&Delivery{Context: l.ctx, Link: l, Message: m}, err)
		return nil
	}
	d, err := l.open(m)
	if err != nil {
		l.Reject(d, err)
		if !l.salvage(d, err) {
			return nil
		}
	}
	if l.presence != nil {
		ok, err := l.presence.admit(d)
		if err != nil {
			l.Reject(d, err)
		}
		if !ok || err != nil {
			return nil
		}
	}
	if err != nil && d.Envelope.Fault == nil {
		l.refuse(&d.Envelope, err)
		return nil
	}
	d.Envelope.expire()
	m.SetContext(d)
	if err := l.dispatch(d, m); err != nil {
		l.Reject(d, contain.Tame(err))
	}
	return d
}

// checkKey refuses what is signed by no key of the link's, or not at all where it has keys.
func (l *Link) checkKey(m *message.Message) error {
	if l.keys == nil && len(m.Metadata) == 0 { // as parcels are
		return nil
	}
	return l.keys.Check(signedFor, l.ch.In, m.Metadata, m.Payload)
}

// open finds out what m is. d is not nil. Codecs and values may be the application's, and a panic of theirs costs this message.
func (l *Link) open(m *message.Message) (d *Delivery, err error) {
	defer l.recovered("codec", &err)
	limit := l.bus.opts.MaxMessageBytes
	p, ok := m.Context().(*parcel)
	if !ok || !l.Binary() {
		d = &Delivery{Context: l.ctx, Link: l, Message: m}
		if n := weigh(m); n > limit && !ok {
			return d, tooLarge("", n, limit)
		}
		if l.ownCodec {
			d.Envelope, err = l.unmarshalOwn(m)
		} else {
			d.Envelope, err = l.codec.Unmarshal(m)
		}
		if err == nil {
			err = unescapeMetadata(m.Metadata) // middleware reads it
		}
		d.Envelope.trim(limit)
		return d, err
	}
	if p.state.Or(parcelReceived)&parcelReceived != 0 {
		return &Delivery{Context: l.ctx, Link: l, Message: m}, errors.New("a parcel that was received before")
	}
	if d = &p.Delivery; m != &p.msg && !l.alone {
		d = &Delivery{Envelope: p.Envelope, parcel: p}
	}
	d.Context, d.Link, d.Message = l.ctx, l, m
	if l.bus.readers {
		err = unpack(m, &d.Envelope)
	}
	d.Envelope.trim(limit)
	n := int(p.size)
	if l.bus.readers || d.Envelope.Fault != nil { // it may weigh less now
		n = d.Envelope.Size()
	}
	if d.Envelope.Value != nil && !l.bus.readers && (!l.values || n > limit) {
		d.Envelope.encode()
		m.Payload = message.Payload(d.Envelope.Body)
		n = d.Envelope.Size()
	}
	d.size = boundedSize(n)
	if err == nil && n > limit {
		err = tooLarge("", n, limit)
	}
	return d, err
}

// dispatch runs the inbound chain. A panic in it, which can only come from
// configured middleware, costs this message and nothing more; and so does the end of the goroutine.
func (l *Link) dispatch(d *Delivery, m *message.Message) (err error) {
	if len(l.bus.opts.Inbound) > 0 {
		l.inUser.Add(1)
		defer l.inUser.Add(-1)
	}
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			err = l.caught("inbound middleware", v)
		} else {
			l.Reject(d, contain.ErrExited)
		}
	}()
	_, err = l.inbound(m)
	returned = true
	return err
}

// accept is the end of the inbound chain: the link's own messages, then the layers.
func (l *Link) accept(m *message.Message) ([]*message.Message, error) {
	d, ok := DeliveryFrom(m.Context())
	if !ok {
		return nil, fmt.Errorf("inbound middleware replaced the context of message %s", m.UUID)
	}
	switch d.Envelope.Type {
	case ExecuteRequest, ExecuteResponse, Event:
		l.toLayers(d)
		return nil, nil
	}
	return nil, l.acceptControl(d)
}

// acceptControl is accept for all but calls and events. It is apart for the sake of the stacks of those that run accept: a
// goroutine that waits keeps its stack, and each envelope that is made in a function takes room there in any case.
func (l *Link) acceptControl(d *Delivery) error {
	e := &d.Envelope
	switch e.Type {
	case ListRequest:
		l.learn(e)
		l.helloAgain()
	case ListResponse:
		l.learn(e)
		l.toLayers(d)
		l.answered()
		return nil
	case Goodbye:
		l.peerClosed(ErrPeerClosed)
		return nil
	case Flush:
		return l.Send(Envelope{Type: Flushed, Thread: e.ID})
	case Flushed:
		l.flushed(e.Thread)
		return nil
	case Ping: // having come is all that it says
		return nil
	}
	if !l.toLayers(d) && e.Type == ListRequest { // no layer above has commands
		return l.Send(Envelope{Type: ListResponse, Thread: e.ID, Body: []byte("[]")})
	}
	return nil
}

func (l *Link) toLayers(d *Delivery) bool {
	for _, r := range l.layers {
		if r.Receive(d) {
			return true
		}
	}
	return false
}
