package bus

import (
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// What is sent before the peer's session is known is held: it could not be
// addressed, and the peer would take it for somebody else's. It is counted as
// queued, so that the bounds of the outbox hold for it.

// reserve counts a message in that is not queued yet.
func (o *outbox) reserve(it *outItem) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.admit(it)
}

// force queues what must not wait for the room that reserved messages take:
// only it can make that room. What is queued and not reserved bounds it.
func (o *outbox) force(it outItem) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return ErrClosed
	case len(o.items) >= 2*o.bound:
		return ErrFull
	}
	o.items = append(o.items, it)
	o.size++
	o.signal()
	return nil
}

// deliver queues what was reserved.
func (o *outbox) deliver(items []outItem) {
	if len(items) == 0 {
		return
	}
	o.mu.Lock()
	o.items = append(o.items, items...)
	o.mu.Unlock()
	o.signal()
}

// forget counts out what was reserved and will not be queued.
func (o *outbox) forget(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for range n {
		o.published()
	}
}

// push queues a message, or holds it. Greetings and their answers always pass:
// they are what makes the peer known.
func (p *presence) push(e *Envelope, it outItem) error {
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
		return p.link.out.push(it)
	}
	if p.lost {
		return ErrClosed
	}
	if err := p.link.out.reserve(&it); err != nil {
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

// giveUp drops what is held, since the link closes and nobody is there to take it.
func (p *presence) giveUp() {
	p.mu.Lock()
	held := p.held
	p.held, p.lost = nil, true
	p.mu.Unlock()
	p.link.out.forget(len(held))
	for i := range held {
		p.link.unsent(&held[i], errDiscarded)
	}
}
