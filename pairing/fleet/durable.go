package fleet

import (
	"fmt"
	"time"

	"github.com/leatbus/leat/bus"
)

// The caller's side of durable commands: a request goes into the queue of its command, and is answered by whoever takes
// it from there. It has no deadline there and is never cancelled; the call that waits for it ends like any other.

// queueTopic is where the requests for a durable command are.
func (f *Fleet) queueTopic(command string) string {
	return f.opts.Topic(f.opts.Namespace + ".queue." + command)
}

// outlives reports whether a request goes through the queue of its command: if whoever serves that takes it from
// there, and in doubt if it is to. See beginDurable.
func (f *Fleet) outlives(e *bus.Envelope) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.services[e.Name]
	return s != nil && (e.Durable || s.queued())
}

// queued reports whether the requests for it go through a queue. f.mu is held.
func (s *service) queued() bool {
	if len(s.servers) == 0 || s.def.Durable { // it is when nobody is there that the queue is worth it
		return s.def.Durable
	}
	return s.takers > 0
}

// beginDurable is begin for the request of a durable command. f.mu is held.
func (f *Fleet) beginDurable(c *call, fx *effects) (room <-chan struct{}) {
	e := c.letter.envelope
	switch s := f.services[e.Name]; {
	case f.err != nil || s == nil:
		fx.deliver(response(e.ID, f.nobody(e.Name)))
		return nil
	case !s.queued():
		fx.deliver(response(e.ID, &bus.Fault{Code: codeInternal,
			Message: fmt.Sprintf("%s is durable for its caller, and no process that serves it takes it from a queue", e.Name)}))
		return nil
	case e.Key != "":
		fx.deliver(response(e.ID, &bus.Fault{Code: codeInvalid, Message: fmt.Sprintf(
			"%s is durable: its requests go through one queue, which keeps no order for each key, so that it takes no commands.WithKey", e.Name)}))
		return nil
	}
	box := f.outlets[e.Name]
	if box == nil {
		box = f.newOutbox(f.queueTopic(e.Name), f.singles)
		if f.queued != nil {
			box.to = f.queued
		}
		f.outlets[e.Name] = box
	}
	if room := box.full(itemRequest); room != nil {
		return room
	}
	f.calls[e.ID] = c
	e.Deadline, e.Durable = 0, true
	e.Once = orDefault(e.Once, f.self.id+"/"+f.self.session+"/"+e.ID)
	l := &letter{process: f.self, sent: f.stamp(), lease: f.ownLease(), envelope: e}
	if !box.push(outItem{letter: l, kind: itemRequest, call: c, expires: c.deadline}) {
		f.lose(c, fx)
	}
	return nil
}

// goneFrom reports whether the process that has sent l has surely gone, or begun anew. f.mu is held.
func (f *Fleet) goneFrom(l *letter) bool {
	p, m := l.process, f.members[l.id]
	gone, left := f.left[p.session]
	left = left && !gone.drained
	switch {
	case m != nil && m.session == p.session:
		return false
	case left || m != nil && newer(m.session, p.session):
		return true
	}
	// It is not known. If it were there, this one would have heard of it by now, unless it has only just begun: its request may
	// be here before its hello.
	since := time.Duration(f.stamp()-l.sent) * time.Microsecond
	return !f.inDoubt() && min(since, time.Since(f.steady)) > max(f.opts.Lease, leaseOf(l.lease))
}
