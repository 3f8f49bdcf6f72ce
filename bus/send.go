package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/internal/contain"
)

// Send queues e for the peer and returns. Messages arrive in the order in
// which they were queued. Errors: [ErrClosed], [ErrFull] (requests and events
// at QueueSize, all others at twice that), [ErrTooLarge], or what the codec
// refuses.
func (l *Link) Send(e Envelope) error {
	if e.Type == ListRequest || e.Type == ListResponse {
		e.Features = l.announced()
	}
	m, err := l.marshal(&e)
	if err != nil {
		return fmt.Errorf("send to %q: %w", l.ID(), err)
	}
	return l.push(&e, m)
}

// Post is Send for callers and handlers: where the channel is InProcess, or its publisher a [DirectPublisher], it may
// publish on the calling goroutine. It must not be called by a receiver, nor
// while a lock is held. A message that then cannot be published is reported
// as unsent, like a queued one.
func (l *Link) Post(e Envelope) error {
	m, err := l.marshal(&e)
	if err != nil {
		return fmt.Errorf("send to %q: %w", l.ID(), err)
	}
	return l.post(&e, m)
}

// Relay is Send for receivers: where the peer can take the message at once, it does, on the calling goroutine. Nothing
// is waited for. It must not be called while a lock is held.
func (l *Link) Relay(e Envelope) error {
	if l.direct == nil || !l.isReady() {
		return l.Send(e)
	}
	m, err := l.marshal(&e)
	if err != nil {
		return fmt.Errorf("send to %q: %w", l.ID(), err)
	}
	return l.postDirect(&e, m)
}

// postDirect hands m to the peer where it can, and queues it where it cannot.
func (l *Link) postDirect(e *Envelope, m *message.Message) error {
	it, publish, err := l.enter(e, m)
	switch {
	case !publish:
	case l.tryDirect(&it):
		l.stats.sent.Add(1)
		l.out.leave()
	default:
		l.out.giveBack(it)
	}
	return err
}

// tryDirect reports whether the peer has taken the message. A panic of the publisher leaves it to the writer to find
// out. One that ends the goroutine, which is a caller's or a pump, has had its message.
func (l *Link) tryDirect(it *outItem) (taken bool) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			_ = l.caught("publisher", v)
		} else {
			l.unsent(it, contain.ErrExited)
			l.out.leave()
		}
	}()
	taken = l.direct.TryPublish(l.ch.Out, it.msg)
	returned = true
	return taken
}

// PostReply is Post for a reply that handler middleware has produced as m, in
// binary form: m itself goes out where the link is binary.
func (l *Link) PostReply(e Envelope, m *message.Message) error {
	if !l.Binary() || l.parcels != nil {
		return l.Post(e)
	}
	if !l.ch.InProcess {
		m = m.Copy() // it is the middleware's, and about to be changed
		Escape(m)
	}
	return l.post(&e, m)
}

// marshal makes the message of e. A codec, or a value, that panics or ends its goroutine gives an error.
func (l *Link) marshal(e *Envelope) (m *message.Message, err error) {
	defer l.recovered("codec", &err)
	if l.parcels != nil {
		if e.Value != nil && e.Value.Size() > l.bus.opts.MaxMessageBytes {
			e.encode()
		}
		return pack(e)
	}
	e.spellOut()
	if l.ownCodec {
		m, err = l.marshalOwn(*e)
	} else {
		m, err = l.codec.Marshal(*e)
	}
	if err == nil && !l.ch.InProcess {
		Escape(m)
	}
	return m, err
}

func (l *Link) push(e *Envelope, m *message.Message) error {
	it, err := l.item(e, m)
	switch {
	case err != nil:
	case l.presence != nil:
		err = l.presence.push(e, it)
	default:
		err = l.out.push(it)
	}
	if err != nil {
		return fmt.Errorf("send to %q: %w", l.ID(), err)
	}
	return nil
}

func (l *Link) post(e *Envelope, m *message.Message) error {
	switch {
	case !l.isReady():
		return l.push(e, m)
	case l.ch.InProcess:
	case l.direct != nil:
		return l.postDirect(e, m)
	default:
		return l.push(e, m)
	}
	it, publish, err := l.enter(e, m)
	if publish {
		defer l.out.leave()
		l.publish(&it)
	}
	return err
}

// enter queues m, or leaves it to the caller to publish it, in the writer's place.
func (l *Link) enter(e *Envelope, m *message.Message) (it outItem, publish bool, err error) {
	if it, err = l.item(e, m); err == nil {
		publish, err = l.out.enter(it)
	}
	if err != nil {
		return it, false, fmt.Errorf("send to %q: %w", l.ID(), err)
	}
	return it, publish, nil
}

func (l *Link) item(e *Envelope, m *message.Message) (outItem, error) {
	if n, limit := len(m.Payload), l.bus.opts.MaxMessageBytes; n > limit {
		return outItem{}, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, n, limit)
	}
	it := outItem{msg: m, typ: e.Type, id: e.ID}
	if e.Type == Event {
		it.born, it.life, it.relayed = time.Since(l.made), orDefault(e.Life, l.bus.opts.EventTTL), e.Hops > 0
	}
	return it, nil
}

// Room returns nil if Send would take a request or an event now, or the link is
// closed; else a channel that is closed when it is worth another try.
func (l *Link) Room() <-chan struct{} { return l.out.roomFor() }

// AwaitRoom is [Link.Room] for those who do as WaitRoom does: nil too for a link
// whose peer has not been heard of yet.
func (l *Link) AwaitRoom() <-chan struct{} {
	if !l.isReady() {
		return nil
	}
	return l.Room()
}

// WaitRoom waits until Send would take an event. It returns at once for a link
// that is closed, or whose peer has not been heard of yet: waiting for one
// that may never come would not be bounded by anything.
func (l *Link) WaitRoom(ctx context.Context) error {
	for {
		room := l.AwaitRoom()
		if room == nil {
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Drop counts an event that could not be sent, and logs it once in a while: in
// a goroutine, since whoever fans out holds the sequence, and a logger is user code.
func (l *Link) Drop(id string, err error) {
	if n := l.stats.dropped.Add(1); n&(n-1) == 0 {
		go l.log.Warn("event dropped", "event", id, "dropped", n, "error", err.Error())
	}
}
