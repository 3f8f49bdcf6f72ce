package commands

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/leatbus/leat/bus"
)

// serving is one request that was received and is not answered yet: a handler
// runs or waits to run, or it was forwarded.
type serving struct {
	p     *peer
	d     *bus.Delivery
	cmd   *command  // the local command; nil when forwarded
	route *route    // where it was forwarded to; nil when served here
	at    time.Time // the caller's deadline; zero when unknown

	queued bool               // guarded by p.mu: it is in a backlog
	cancel context.CancelFunc // guarded by p.mu: set while the handler runs
	gone   bool               // guarded by p.mu: the caller has left; no reply
}

// lane holds the requests of one depth on one link. A call waits only for
// calls that are deeper than itself, so however few may run in each lane,
// nested calls never wait for each other in a circle.
type lane struct {
	running int
	backlog []*serving // those that wait, first come first served
	gone    int        // how many of them have no caller any more
}

// admit runs the request's handler in a goroutine of its own, or lets it wait
// for one that ends, or refuses it. It runs on the pump.
func (p *peer) admit(d *bus.Delivery, cmd *command) {
	s := &serving{p: p, d: d, cmd: cmd}
	if d.Envelope.Deadline > 0 {
		s.at = time.Now().Add(d.Envelope.Deadline)
	}
	p.mu.Lock()
	if _, duplicate := p.in[d.Envelope.ID]; duplicate || p.closed {
		p.mu.Unlock()
		return
	}
	l := &p.lanes[d.Envelope.Depth]
	switch {
	case l.running < p.r.cfg.MaxInFlight:
		l.running++
		p.in[d.Envelope.ID] = s
		p.r.bus.Begin()
		go s.work(l)
	case p.waiting < p.r.cfg.MaxBacklog:
		s.queued = true
		l.backlog = append(l.backlog, s)
		p.waiting++
		p.in[d.Envelope.ID] = s
		p.r.bus.Begin()
	default:
		p.mu.Unlock()
		p.r.stats.refused.Add(1)
		s.refuse(&bus.Fault{Code: string(Internal), Message: fmt.Sprintf("overloaded: %d requests are waiting already", p.r.cfg.MaxBacklog)})
		return
	}
	p.mu.Unlock()
}

// work serves s, and then what has come to wait in the lane meanwhile.
func (s *serving) work(l *lane) {
	p := s.p
	exited := true // by runtime.Goexit in a handler, unless cleared
	defer func() {
		if exited {
			p.r.bus.End()
			if s := p.next(l); s != nil {
				go s.work(l)
			}
		}
	}()
	for s != nil {
		s.serve()
		p.r.bus.End()
		s = p.next(l)
	}
	exited = false
}

// next takes the first of the lane's backlog, or frees the place.
func (p *peer) next(l *lane) *serving {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(l.backlog) > 0 {
		s := l.backlog[0]
		l.backlog[0] = nil
		l.backlog = l.backlog[1:]
		if !s.gone {
			s.queued = false
			p.waiting--
			return s
		}
		l.gone--
	}
	l.running--
	return nil
}

// serve runs the handler and sends the reply.
func (s *serving) serve() {
	ctx, cancel := s.context()
	defer cancel()
	if !s.started(cancel) {
		return
	}
	out := result{fault: &bus.Fault{Code: string(Internal), Message: "handler ended its goroutine"}}
	defer func() { s.reply(out) }() // also when the handler calls runtime.Goexit
	out = s.p.r.serve(ctx, s)
}

// reply sends what the handler gave, unless nobody waits for it any more.
func (s *serving) reply(out result) {
	if !s.finished() {
		return
	}
	e := bus.Envelope{ID: bus.NewID(), Type: bus.ExecuteResponse, Thread: s.d.Envelope.ID,
		Body: out.body, Fault: out.fault, Metadata: out.metadata}
	var err error
	if out.message != nil {
		err = s.p.link.PostReply(e, out.message)
	} else {
		err = s.p.link.Post(e)
	}
	if err != nil {
		s.p.answer(e)
	}
}

// context returns the context of the handler: it ends with the link, with the
// caller's deadline, and when the caller leaves.
func (s *serving) context() (context.Context, context.CancelFunc) {
	if s.at.IsZero() {
		return context.WithCancel(s.d)
	}
	return context.WithDeadline(s.d, s.at)
}

// started notes how to cancel the run. False if the caller has left already.
func (s *serving) started(cancel context.CancelFunc) bool {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.cancel = cancel
	return !s.gone
}

// finished forgets the request. False if nobody waits for the reply: the
// caller has left, or was told that the link closes.
func (s *serving) finished() bool {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.p.in[s.d.Envelope.ID] == s {
		delete(s.p.in, s.d.Envelope.ID)
	}
	s.cancel = nil
	return !s.gone && !s.p.closed
}

// refuse answers a request that is not going to be served.
func (s *serving) refuse(f *bus.Fault) { s.p.refuse(s.d.Envelope.ID, f) }

func (p *peer) refuse(id string, f *bus.Fault) {
	p.answer(bus.Envelope{ID: bus.NewID(), Type: bus.ExecuteResponse, Thread: id, Fault: f})
}

// cancel ends the request with that ID, because its caller has left: one that
// runs has its context cancelled, one that waits never runs, one that was
// forwarded is cancelled there.
func (p *peer) cancel(id string) {
	p.mu.Lock()
	s := p.in[id]
	if s == nil {
		p.mu.Unlock()
		return
	}
	delete(p.in, id)
	s.gone = true
	cancel := s.cancel
	if s.queued {
		p.lanes[s.d.Envelope.Depth].forget()
		p.waiting--
		p.r.bus.End()
	}
	p.mu.Unlock()
	switch {
	case s.route != nil:
		s.route.leave()
	case cancel != nil:
		cancel()
	}
}

// forget notes that one of the backlog is gone. They are cleared out when they
// are the greater part, so that each costs a constant and the backlog stays
// bounded.
func (l *lane) forget() {
	l.gone++
	if l.gone <= len(l.backlog)/2 {
		return
	}
	l.backlog = slices.DeleteFunc(l.backlog, func(s *serving) bool { return s.gone })
	l.gone = 0
}
