package bus

import (
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/internal/contain"
)

// Send queues e for the peer and returns. Events and requests arrive in the order in which they were queued; answers and
// control messages may pass them: see Envelope.Free. Errors: [ErrClosed], [ErrFull] (see Options.QueueSize), [ErrTooLarge], or
// what the codec refuses.
func (l *Link) Send(e Envelope) error {
	if e.Type == ListRequest || e.Type == ListResponse {
		e.Features = l.announced()
	}
	m, err := l.marshal(&e)
	if err == nil {
		err = l.push(&e, m)
	}
	return l.sendError(err)
}

// Post is Send for callers and handlers: where the channel is InProcess, or its publisher a [DirectPublisher], it may
// publish on the calling goroutine. It must not be called by a receiver, nor
// while a lock is held. A message that then cannot be published is reported
// as unsent, like a queued one. A reply waits until there is room for it; it fails only if the link closes before. For a
// request see [Link.Wait].
func (l *Link) Post(e Envelope) error {
	m, err := l.marshal(&e)
	if err == nil {
		err = l.post(&e, m)
	}
	return l.sendError(err)
}

// Relay is Send for receivers that pass on a request or a reply: where the peer can take the message at once, it does, on the
// calling goroutine. Nothing is waited for. It must not be called while a lock is held. The caller bounds the number of
// relayed requests: the link bounds only their bytes.
func (l *Link) Relay(e Envelope) error {
	m, err := l.marshal(&e)
	if err == nil {
		err = l.relay(&e, m)
	}
	return l.sendError(err)
}

func (l *Link) relay(e *Envelope, m *message.Message) error {
	it, err := l.item(e, m)
	if err != nil {
		return err
	}
	if it.kind == traffic {
		it.kind = forwards
	}
	if l.direct != nil && l.isReady() {
		if l.pass(&it) {
			return nil
		}
		return l.handOver(it, false)
	}
	return l.queue(e, it, false)
}

// PostReply is Post for a reply that handler middleware has produced as m, in
// binary form: m itself goes out where the link is binary, and it is a success.
func (l *Link) PostReply(e Envelope, m *message.Message) error {
	if !l.Binary() || l.parcels != nil || e.Fault != nil {
		return l.Post(e)
	}
	if m = m.Copy(); e.Free { // it is the middleware's, and about to be changed
		m.Metadata[keyFree] = "1"
	}
	if !l.ch.InProcess {
		Escape(m)
	}
	return l.sendError(l.post(&e, m))
}

func (l *Link) sendError(err error) error {
	if err != nil {
		return fmt.Errorf("send to %q: %w", l.ID(), err)
	}
	return nil
}

// marshal makes the message of e. A codec, or a value, that panics or ends its goroutine gives an error.
func (l *Link) marshal(e *Envelope) (m *message.Message, err error) {
	defer l.recovered("codec", &err)
	limit := l.bus.opts.MaxMessageBytes
	e.trim(limit)
	if l.parcels != nil {
		size := e.Size()
		if e.Value != nil && (size > limit || l.sizer != nil && l.fits(e, nil, 0) != nil) { // its size is a bound
			e.encode()
			size = e.Size()
		}
		return pack(e, size)
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

// push queues m.
func (l *Link) push(e *Envelope, m *message.Message) error {
	it, err := l.item(e, m)
	if err == nil {
		err = l.queue(e, it, false)
	}
	return err
}

// queue queues an item, or holds it.
func (l *Link) queue(e *Envelope, it outItem, waits bool) (err error) {
	if l.presence != nil {
		err = l.presence.push(e, it, waits)
	} else {
		err = l.out.push(it, waits)
	}
	if err == ErrFull && !waits {
		l.noRoom(&it)
	}
	return err
}

// noRoom counts an answer or control message that cannot wait and finds no room; but not one that is too large to find any, and
// can be replaced by a small one.
func (l *Link) noRoom(it *outItem) {
	t := it.typ
	if it.kind != answers || it.size > smallMessage && (t == ExecuteResponse || t == RegisterResponse) {
		return
	}
	if n := l.stats.noRoom.Add(1); n&(n-1) == 0 {
		go l.log.Warn("answer or control message dropped, link queue is full", "type", string(t), "dropped", n)
	}
}

// post is for goroutines that may publish themselves, and wait.
func (l *Link) post(e *Envelope, m *message.Message) error {
	it, err := l.item(e, m)
	if err != nil {
		return err
	}
	if err = l.offer(e, it, true); err != ErrFull || it.kind == traffic {
		return err
	}
	t := l.out.queueUp(it)
	<-t.decided
	it.admitted = t.item.admitted
	return l.offer(e, it, true)
}

// offer publishes an item on the calling goroutine where that is allowed and nothing is before it, and queues it otherwise.
func (l *Link) offer(e *Envelope, it outItem, waits bool) error {
	switch {
	case !l.isReady():
	case l.pass(&it):
		return nil
	case l.ch.InProcess:
		return l.publishHere(it, waits)
	case l.direct != nil:
		return l.handOver(it, waits)
	}
	return l.queue(e, it, waits)
}

// pass gives a request or reply to the peer where nothing is before it and the peer can take it at once, without the
// outbox's lock.
func (l *Link) pass(it *outItem) (taken bool) {
	if l.direct == nil || it.admitted || it.typ != ExecuteRequest && it.typ != ExecuteResponse || !l.out.pass() {
		return false
	}
	defer func() { l.out.passed(taken) }()
	return l.tryDirect(it)
}

func (l *Link) publishHere(it outItem, waits bool) error {
	publish, err := l.out.enter(&it, waits)
	if publish {
		defer l.out.leave(&it)
		l.publish(&it)
	}
	return err
}

// handOver gives an item to the peer where it can take it at once, and queues it where it cannot.
func (l *Link) handOver(it outItem, waits bool) error {
	publish, err := l.out.enter(&it, waits)
	if publish {
		l.tryHandOver(it)
	}
	if err == ErrFull && !waits {
		l.noRoom(&it)
	}
	return err
}

// tryHandOver ends what enter has begun, also where the publisher ends the goroutine.
func (l *Link) tryHandOver(it outItem) {
	left := true // by the publisher's goroutine, unless cleared
	defer func() {
		if left {
			l.out.leave(&it)
		}
	}()
	if !l.tryDirect(&it) {
		left = false
		l.out.giveBack(it)
		return
	}
	l.stats.sent.Add(1)
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
		}
	}()
	taken = l.direct.TryPublish(l.ch.Out, it.msg)
	returned = true
	return taken
}

// itemOverhead is what a message costs besides its weight, about: names of usual lengths, and the queue's own.
const itemOverhead = 256

func (l *Link) item(e *Envelope, m *message.Message) (outItem, error) {
	n, limit := l.weight(m), l.bus.opts.MaxMessageBytes
	if n > limit {
		return outItem{}, tooLarge("", n, limit)
	}
	if err := l.fits(e, m, n); err != nil {
		return outItem{}, err
	}
	it := outItem{msg: m, typ: e.Type, id: e.ID, size: n + itemOverhead, free: e.Free, after: e.after}
	switch e.Type {
	default:
		it.kind = answers
	case ExecuteRequest:
	case Event:
		it.born, it.life, it.relayed = time.Since(l.made), orDefault(e.Life, l.bus.opts.EventTTL), e.Hops > 0
	case Group: // its listener may be a handler's, and is known to the peer before the reply
		it.kind = answers
		l.bus.loose.Add(1)
	}
	return it, nil
}

// Drop counts an event that could not be sent, and logs it once in a while: in
// a goroutine, since the goroutine that fans out holds the sequence, and a logger is user code.
func (l *Link) Drop(id string, err error) {
	if n := l.stats.dropped.Add(1); n&(n-1) == 0 {
		go l.log.Warn("event dropped", "event", id, "dropped", n, "error", err.Error())
	}
}
