package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
)

// pump receives what comes on one topic. Its subscriptions call it one message at a time.
type pump struct {
	fleet   *Fleet
	topic   string
	role    role
	from    process  // who sent the last bundle
	letters []letter // of the message that is being received; kept for the next
	fx      effects  // of it; kept as well
}

// role is what a topic is for, in the order in which they are subscribed to.
type role int

const (
	inbox role = iota
	discovery
	news
)

// takes reports whether such a letter belongs on the topic: a letter to one process goes to its inbox, where all are addressed.
func (r role) takes(l *letter) bool {
	if r == inbox && l.to == "" {
		return l.kind == kindProbe
	}
	switch l.kind {
	case kindProbe:
		return true
	case kindHello, kindChange, kindSuspect:
		return r == discovery
	case kindBeat, kindDrain, kindBye:
		return r != news
	case kindFlush:
		return r == news
	case "":
		return r == inbox && l.envelope.Type != bus.Event || r == news && l.envelope.Type == bus.Event
	}
	return r == inbox || !l.knownKind()
}

// callingSubscriber is a subscriber that calls a function with messages that are acked, one at a time: one of a Broker is. It is
// not bus.FuncSubscriber, which whoever wraps a bus/memory and means to change its Subscribe has without knowing.
type callingSubscriber interface {
	SubscribeCalling(ctx context.Context, topic string, fn func(*message.Message)) (ended <-chan struct{}, err error)
}

// subscribe begins, and returns what then has to run: it returns when the subscription has ended.
func (p *pump) subscribe() (wait func(), err error) {
	f := p.fleet
	defer func() {
		if v := recover(); v != nil {
			wait, err = nil, fmt.Errorf("panic in subscriber: %v", v)
		}
	}()
	if s, ok := f.sub.(callingSubscriber); ok {
		ended, err := s.SubscribeCalling(f.ctx, p.topic, p.receive)
		return func() { <-ended }, err
	}
	in, err := f.sub.Subscribe(f.ctx, p.topic)
	return func() {
		for m := f.next(in); m != nil; m = f.next(in) {
			m.Ack()
			p.receive(m)
		}
	}, err
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

// run waits for the end of the fleet. A subscription that ends before is made again.
func (p *pump) run(wait func()) {
	for wait != nil {
		wait()
		wait = p.again()
	}
}

// again returns nil when the fleet ends.
func (p *pump) again() (wait func()) {
	f := p.fleet
	for pause := firstPause; f.ctx.Err() == nil; pause = min(2*pause, f.opts.Lease/3) {
		f.log.Warn("subscription ended, resubscribing", "topic", p.topic)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-f.ctx.Done():
			timer.Stop()
			return nil
		}
		wait, err := p.subscribe()
		if err == nil {
			f.count.resubscribed.Add(1)
			if p.topic == f.names.inbox {
				f.gapped()
			}
			return wait
		}
		f.log.Warn("subscribe failed, trying again", "topic", p.topic, "error", err.Error())
	}
	return nil
}

// receive takes one message: a letter, or a bundle of them.
func (p *pump) receive(m *message.Message) {
	f := p.fleet
	bad, err := p.read(m)
	f.count.received.Add(uint64(len(p.letters) + bad))
	f.mu.Lock()
	for i := range p.letters {
		if wrong := f.dispatch(&p.letters[i], &p.fx); wrong != nil {
			bad, err = bad+1, wrong
		}
	}
	f.settleUpdate(&p.fx)
	f.mu.Unlock()
	f.perform(&p.fx)
	p.letters, p.fx = emptied(p.letters), effects{registry: emptied(p.fx.registry)}
	if bad > 0 {
		f.count.rejected.Add(uint64(bad))
		f.log.Warn("message rejected", "topic", p.topic, "uuid", m.UUID, "letters", bad, "error", err.Error())
	}
}

// read appends the letters in m that can be read to p.letters. What takes time is done here, before the lock is taken.
func (p *pump) read(m *message.Message) (bad int, err error) {
	f := p.fleet
	payload, err := f.authentic(p.topic, m)
	switch {
	case err != nil:
		return 1, err
	case isBundle(payload):
		bad, err = p.unbundle(payload)
	default:
		l, err := open(m)
		if err != nil {
			return 1, err
		}
		p.letters = append(p.letters, l)
	}
	good := p.letters[:0]
	for i := range p.letters {
		l := &p.letters[i]
		var wrong error
		switch {
		case l.kind == kindHello || l.kind == kindBeat:
			wrong = l.readNotice(f.self.session)
		case l.kind != kindProbe && !fits(l.wire, l.oldest) && l.kind != "": // only what all versions say is read
		case l.kind == kindSuspect:
			wrong = l.readNotice(f.self.session)
		case l.kind == kindChange || l.kind == kindList:
			wrong = l.readCommands()
		case l.kind == kindView || l.kind == kindSync:
			wrong = l.readView()
		}
		if wrong == nil {
			wrong = checkHash(l.hash)
		}
		if wrong == nil && !p.role.takes(l) {
			wrong = fmt.Errorf("%s%s does not belong here", l.kind, l.envelope.Type)
		}
		if wrong != nil {
			bad, err = bad+1, wrong
			continue
		}
		l.names = l.names || p.role == inbox && l.to == f.self.session
		good = append(good, *l)
	}
	p.letters = good
	return bad, err
}

// emptied is s without what was in it, to be filled again.
func emptied[T any](s []T) []T {
	if cap(s) > maxKept {
		return nil
	}
	clear(s)
	return s[:0]
}

// maxKept bounds the room that a pump keeps for the next message, in letters.
const maxKept = 2 * maxBatch

// dispatch takes one letter. f.mu is held.
func (f *Fleet) dispatch(l *letter, fx *effects) error {
	switch {
	case l.process == f.self:
		f.cameBack(l, fx)
		return nil
	case !f.isReady(): // it was not announced yet
		return nil
	case l.to != "" && l.to != f.self.session:
		f.count.stale.Add(1)
		return nil
	case l.kind == kindProbe:
		return nil
	case l.kind == kindFlush:
		f.flushAsked(l, fx)
		return nil
	case l.kind != "":
		return f.noticed(l, fx)
	}
	switch l.envelope.Type {
	case bus.ExecuteRequest:
		f.serveRequest(l, fx)
	case bus.ExecuteResponse:
		f.replied(l, fx)
	case bus.Cancel:
		f.cancelServed(l, fx)
	case bus.Event:
		f.received(l, fx)
	default:
		return fmt.Errorf("unexpected %s", l.envelope.Type)
	}
	return nil
}
