package pairing

import (
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
)

// pump receives what comes on one topic. A subscription that ends while the fleet does not is made again.
func (f *Fleet) pump(topic string, in <-chan *message.Message) {
	for in != nil {
		if m := f.next(in); m != nil {
			m.Ack()
			f.receive(topic, m)
			continue
		}
		in = f.resubscribe(topic)
	}
}

// next returns the next message, or nil when there is none any more.
func (f *Fleet) next(in <-chan *message.Message) *message.Message {
	select {
	case m := <-in:
		return m
	case <-f.ctx.Done():
		return nil
	}
}

// resubscribe returns nil when the fleet ends.
func (f *Fleet) resubscribe(topic string) <-chan *message.Message {
	for wait := firstPause; f.ctx.Err() == nil; wait = min(2*wait, f.opts.Lease/3) {
		f.log.Warn("a subscription ended; making it again", "topic", topic)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-f.ctx.Done():
			timer.Stop()
			return nil
		}
		in, err := f.sub.Subscribe(f.ctx, topic)
		if err == nil {
			f.count.resubscribed.Add(1)
			if topic == f.names.inbox {
				f.gapped()
			}
			return in
		}
		f.log.Warn("subscribing failed", "topic", topic, "error", err.Error())
	}
	return nil
}

// receive dispatches one message.
func (f *Fleet) receive(topic string, m *message.Message) {
	f.count.received.Add(1)
	l, err := open(m)
	if err == nil {
		err = f.dispatch(&l)
	}
	if err != nil {
		f.count.rejected.Add(1)
		f.log.Warn("message rejected", "topic", topic, "uuid", m.UUID, "error", err.Error())
	}
}

func (f *Fleet) dispatch(l *letter) error {
	switch {
	case l.process == f.self:
		f.cameBack(l)
		return nil
	case !f.isReady(): // it was not announced yet
		return nil
	case l.to != "" && l.to != f.self.session:
		f.count.stale.Add(1)
		return nil
	case l.kind == kindProbe:
		return nil
	case l.kind == kindFlush:
		f.flushAsked(l)
		return nil
	case l.kind != "":
		return f.noticed(l)
	}
	switch l.envelope.Type {
	case bus.ExecuteRequest:
		f.serveRequest(l)
	case bus.ExecuteResponse:
		f.replied(l)
	case bus.Cancel:
		f.cancelServed(l)
	case bus.Event:
		f.received(l)
	default:
		return fmt.Errorf("unexpected %s", l.envelope.Type)
	}
	return nil
}
