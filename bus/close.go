package bus

import (
	"time"

	"github.com/leatbus/leat/internal/contain"
)

// Close ends the link: what was received and not started is refused, handlers
// that serve the peer are cancelled, calls that wait on it fail, what is
// queued is published, and the peer is told, which ends its half after it has
// drained what was sent. Close returns when that is done, at most CloseTimeout
// (twice that, if the publisher hangs) later; it does not wait for handlers and listeners. Idempotent, from any
// goroutine; called from inbound middleware it does not wait for the pump,
// which runs it.
func (l *Link) Close() error {
	first := l.begin(ErrClosed)
	if l.inUser.Load() > 0 {
		if first {
			go l.teardown(true)
		}
		return nil
	}
	if first {
		return l.teardown(true)
	}
	<-l.done
	return nil
}

// peerClosed ends this half because the other one is gone. It runs on the
// pump, so that what comes after sees the commands withdrawn; the rest
// happens in a goroutine of its own, which waits for the pump.
func (l *Link) peerClosed(err error) {
	if l.begin(err) {
		go l.teardown(false)
	}
}

// begin decides which side closes the link, and why. It takes it out of the bus and
// tells the layers.
func (l *Link) begin(err error) bool {
	<-l.started
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return false
	}
	l.err = err
	l.mu.Unlock()
	l.stopHello()
	if l.presence != nil {
		l.presence.stop()
	}
	l.bus.hide(l)
	for _, r := range l.layers {
		r.Closed(err)
	}
	l.bus.remove(l) // a channel with this ID that is attached next finds nothing left of this one
	l.cancel(err)   // after the layers know: what a handler returns because of it is no reply
	return true
}

// teardown ends the goroutines and the channel. With drain set, what is queued is
// published first, and the peer is told.
func (l *Link) teardown(drain bool) error {
	if l.ch.Closing != nil {
		if err := contain.Do(l.ch.Closing); err != nil {
			_ = l.broken("Channel.Closing", err)
		}
	}
	if l.presence != nil {
		l.presence.giveUp()
	}
	if drain {
		var last *outItem
		if l.Understands(CanGoodbye) {
			e := Envelope{Type: Goodbye}
			if m, err := l.marshal(&e); err == nil {
				last = &outItem{msg: m, typ: e.Type, kind: answers, id: e.ID}
			}
		}
		l.out.close(last, false)
		l.within(func() { <-l.written })
	}
	l.discard.Store(true)
	for _, it := range l.out.close(nil, true) {
		l.unsent(&it, errDiscarded)
	}
	l.subCancel()
	var err error
	if l.ch.Close != nil {
		if broken := contain.Do(func() { err = l.ch.Close() }); broken != nil {
			err = l.broken("Channel.Close", broken)
		}
	}
	if !l.within(l.workers.Wait) {
		l.log.Error("publisher or subscriber did not end in time", "timeout", l.bus.opts.CloseTimeout)
	}
	l.bus.evicted.Add(l.seen.Stats().Evicted)
	if serr := l.seen.Close(); err == nil {
		err = serr
	}
	close(l.done)
	return err
}

// within waits for f, at most CloseTimeout, and reports whether it returned.
func (l *Link) within(f func()) bool {
	returned := make(chan struct{})
	go func() { f(); close(returned) }()
	timer := time.NewTimer(l.bus.opts.CloseTimeout)
	defer timer.Stop()
	select {
	case <-returned:
		return true
	case <-timer.C:
		return false
	}
}
