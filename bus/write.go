package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/internal/contain"
)

// write publishes what is queued, one message at a time, until the
// outbox is closed and empty.
func (l *Link) write() { l.writeFrom(new(outItem), false) }

// writeFrom is write; with mine set, it was the last one's turn. A publisher that ends the goroutine costs one message: another
// goroutine goes on with the next.
func (l *Link) writeFrom(it *outItem, mine bool) {
	exited := true
	defer func() {
		if !exited {
			close(l.written)
			return
		}
		l.workers.Go(func() { l.writeFrom(it, true) })
	}()
	for ; l.out.next(it, mine); mine = true {
		l.publish(it)
	}
	exited = false
}

func (l *Link) publish(it *outItem) {
	if it.barrier != nil {
		close(it.barrier)
		return
	}
	err := errDiscarded
	if !l.discard.Load() {
		err = l.tryPublish(it)
	}
	if err == nil {
		l.stats.sent.Add(1)
		if l.presence != nil {
			l.presence.sent.Store(int64(l.presence.since()))
		}
		return
	}
	l.unsent(it, err)
}

var errDiscarded = errors.New("link closed before the message was published")

// unsent accounts for a message that was queued and did not leave.
func (l *Link) unsent(it *outItem, err error) {
	if it.barrier != nil || it.typ == Goodbye { // what waits sees the link close; nothing is left to be told
		return
	}
	l.stats.unsent.Add(1)
	if err == errLate { // what waited for it knows
		return
	}
	if !errors.Is(err, errDiscarded) {
		l.log.Warn("message not published", "type", string(it.typ), "id", it.id, "error", err)
	}
	if errors.Is(err, ErrTooLarge) {
		l.replace(it, err)
	}
	for _, r := range l.layers {
		r.Unsent(it.typ, it.id, err)
	}
}

// replace answers in place of an answer that the transport does not take, and never will.
func (l *Link) replace(it *outItem, err error) {
	if it.typ != ExecuteResponse && it.typ != RegisterResponse {
		return
	}
	e := Envelope{Type: it.typ}
	if sent := carried(it.msg); sent != nil {
		e.Thread = sent.Thread
	} else {
		e.Thread = l.head(it.msg, true).Thread
	}
	if e.Thread == "" || it.size <= smallMessage { // else it may be the replacement
		return
	}
	e.Fault = &Fault{Code: "internal_error", Message: "the reply could not be sent: " + err.Error()}
	_ = l.Send(e) // refused: closing, or full, which is counted
}

func (l *Link) tryPublish(it *outItem) (err error) {
	if it.typ == Event {
		if err := it.age(time.Since(l.made)); err != nil {
			return err
		}
	}
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			err = l.caught("publisher", v)
		} else {
			l.unsent(it, contain.ErrExited)
		}
	}()
	err = l.hand(it)
	returned = true
	return err
}

// hand gives the message to the publisher, which is user code.
func (l *Link) hand(it *outItem) error {
	if l.presence != nil {
		if err := l.presence.stamp(it); err != nil {
			return err
		}
	}
	if l.keys != nil {
		if it.msg.Metadata == nil {
			it.msg.Metadata = make(message.Metadata)
		}
		l.keys.Sign(signedFor, l.ch.Out, it.msg.Metadata, it.msg.Payload)
	}
	if l.parcels != nil {
		l.single[0] = it.msg
		return contain.Tame(l.parcels.PublishParcels(l.ch.Out, l.single[:]...))
	}
	return contain.Tame(l.ch.Publisher.Publish(l.ch.Out, it.msg))
}

// signedFor tells the signatures of links from all others by the same key.
const signedFor = "leat link 1"

// recovered turns a panic of what is not leat's into an error. To be deferred.
func (l *Link) recovered(in string, err *error) {
	if v := recover(); v != nil {
		*err = l.caught(in, v)
	}
}

// caught logs a panic that was recovered, and returns it as an error.
func (l *Link) caught(in string, v any) error {
	l.log.Error("panic in "+in, "panic", v, "stack", string(debug.Stack()))
	return fmt.Errorf("panic in %s: %v", in, v)
}

var errExpired = errors.New("event outlived its EventTTL before it was published")

// age takes the time that an event waited here from its remaining life. One
// that has outlived it is not relayed; one that was emitted here, and held for
// a peer that came late, is delivered there and goes no further.
func (it *outItem) age(now time.Duration) error {
	waited := now - it.born
	if waited < MinLife {
		return nil
	}
	left := it.life - waited
	if left < MinLife {
		if it.relayed {
			return errExpired
		}
		left = time.Microsecond
	}
	if e := carried(it.msg); e != nil {
		e.Life = left
	} else {
		it.msg.Metadata[keyLife] = formatMicros(left)
	}
	return nil
}

// Flush waits until the peer has accepted everything that was sent before:
// events are in its listeners' queues, requests are running or waiting. A
// peer that does not understand Flush is trusted once the publisher has taken
// everything. It returns ctx.Err(), or an error that wraps [ErrClosed] or [ErrPeerClosed]
// when the link ends before.
func (l *Link) Flush(ctx context.Context) error {
	select {
	case <-l.ready:
	case <-l.ctx.Done():
		return l.closing()
	case <-ctx.Done():
		return ctx.Err()
	}
	if !l.Understands(CanFlush) {
		return l.flushOut(ctx)
	}
	id, answered := NewID(), make(chan struct{})
	l.mu.Lock()
	l.flushes[id] = answered
	l.mu.Unlock()
	defer l.flushed(id)
	if err := l.Send(Envelope{ID: id, Type: Flush}); err != nil {
		return err
	}
	return l.await(ctx, answered)
}

// flushOut waits until everything queued before has been published.
func (l *Link) flushOut(ctx context.Context) error {
	published := make(chan struct{})
	if err := l.out.push(outItem{kind: barriers, barrier: published}, false); err != nil {
		return err
	}
	return l.await(ctx, published)
}

func (l *Link) await(ctx context.Context, what <-chan struct{}) error {
	select {
	case <-what:
		return nil
	case <-l.ctx.Done():
		return l.closing()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flushed releases the Flush call with that ID, if it still waits.
func (l *Link) flushed(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.flushes[id]; c != nil {
		close(c)
		delete(l.flushes, id)
	}
}

func (l *Link) closing() error {
	return fmt.Errorf("channel %q: %w", l.ID(), context.Cause(l.ctx))
}

var _ message.NoPublishHandlerFunc = (*Link)(nil).Deliver
