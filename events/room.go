package events

import (
	"context"
	"time"
)

// emitPatience is what one emitter waits for, and for how long. It waits for listeners until its ctx ends, and for links
// until EmitTimeout has passed since it first found one full.
type emitPatience struct {
	room  <-chan struct{} // of one that is full
	until time.Time       // when it is given up; zero: a listener, which is not
	links time.Time       // when this emitter gives all links up; zero while none was full
}

// hasRoom reports whether nothing is full that the emitter waits for, which is the listener self or none; else p is to wait. It does not block. It asks all
// links, so that the time of each begins when it is full.
func (h *Hub) hasRoom(self *Listener, id string, p *emitPatience) (bool, error) {
	p.room, p.until = nil, time.Time{}
	h.mu.RLock()
	closed := h.closed
	h.each(id, func(l *Listener) {
		if l.opts.Overflow == Block && p.room == nil {
			p.room = l.awaitRoom(self)
		}
	})
	h.mu.RUnlock()
	if closed {
		return false, ErrClosed
	}
	if !isPrivate(id) {
		h.askLinks(p)
	}
	return p.room == nil, nil
}

func (h *Hub) askLinks(p *emitPatience) {
	for _, l := range h.bus.Links() {
		room, until := l.AwaitRoom()
		if room == nil {
			continue
		}
		if p.links.IsZero() {
			p.links = time.Now().Add(h.bus.Options().EmitTimeout)
		}
		if until.After(p.links) {
			until = p.links
		}
		if p.room == nil && time.Now().Before(until) {
			p.room, p.until = room, until
		}
	}
}

// wait waits until it is worth another try.
func (p *emitPatience) wait(ctx context.Context) error {
	var late <-chan time.Time
	if !p.until.IsZero() {
		timer := time.NewTimer(time.Until(p.until))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-p.room:
	case <-late:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
