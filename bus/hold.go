package bus

import (
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// What is sent before the peer's session is known is held, since it cannot be
// addressed yet. It is counted as queued, so that the bounds of the outbox hold
// for it.

// hold counts a message in that is not queued yet.
func (o *outbox) hold(it *outItem, waits bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.admit(it, waits)
}

// force queues what must not wait for the room that held messages take:
// only it can make that room. What is queued and not held bounds it.
func (o *outbox) force(it outItem) error {
	o.mu.Lock()
	if o.closed || o.ahead.len()/2 >= o.limit.items {
		defer o.mu.Unlock()
		if o.closed {
			return ErrClosed
		}
		return ErrFull
	}
	o.count(&it)
	o.place(it)
	o.unlock()
	return nil
}

// deliver queues what was held.
func (o *outbox) deliver(items []outItem) {
	o.mu.Lock()
	for _, it := range items {
		o.place(it)
	}
	o.unlock()
}

// forget counts out what was held and will not be queued.
func (o *outbox) forget(items []outItem) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range items {
		o.published(&items[i])
	}
}

// push queues a message, or holds it. Greetings and their answers always pass:
// they are what makes the peer known.
func (p *presence) push(e *Envelope, it outItem, waits bool) error {
	if it.msg.Metadata == nil {
		it.msg.Metadata = make(message.Metadata)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	answer := false
	switch {
	case e.Type == ExecuteRequest:
		it.born, it.life = time.Since(p.link.made), e.Deadline
	case e.Type == ListRequest:
		if p.greeting {
			return nil // one is about to leave
		}
	case e.Type == ListResponse:
		answer = p.answer(it.msg.Metadata, e.Thread)
	}
	if e.Type == ListRequest || answer {
		err := p.link.out.force(it)
		if err == nil && e.Type == ListRequest {
			p.greeting = true
			p.greets(e.ID)
		}
		return err
	}
	if p.open {
		return p.link.out.push(it, waits)
	}
	if p.lost {
		if it.admitted {
			p.link.out.forget([]outItem{it})
		}
		return ErrClosed
	}
	if err := p.link.out.hold(&it, waits); err != nil {
		return err
	}
	p.held = append(p.held, it)
	return nil
}

// release queues what is held, and holds nothing from now on. p.mu is held.
func (p *presence) release() {
	if p.open || p.lost {
		return
	}
	p.open = true
	p.link.out.deliver(p.held)
	p.held = nil
}

// absent reports whether what is sent is held, since no peer is known to be there.
func (p *presence) absent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.open
}

// giveUp drops what is held, since the link closes and no peer is there to take it.
func (p *presence) giveUp() {
	p.mu.Lock()
	held := p.held
	p.held, p.lost = nil, true
	p.mu.Unlock()
	p.link.out.forget(held)
	for i := range held {
		p.link.unsent(&held[i], errDiscarded)
	}
}
