package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/leatbus/leat/bus"
)

// serving is one request that was received and is not answered yet: a handler
// runs or waits to run, or it was forwarded. It is the context of the run.
type serving struct {
	idEntry[*serving] // in peer.in; guarded by p.mu
	runContext
	p      *peer
	cmd    *command // the local command; nil when forwarded
	cost   int      // guarded by p.mu: bytes that it counts for; of one that is served here
	route  *route   // where it was forwarded to; nil when served here
	begun  uint64   // see bus.Delivery.Begin
	result result   // what the handler gave

	queued bool // guarded by p.mu: it is in a backlog
	gone   bool // guarded by p.mu: the caller has left; no reply
}

// lane holds the requests of one depth on one link. A call waits only for
// calls that are deeper than itself, so however few may run in each lane,
// nested calls never wait for each other in a circle.
type lane struct {
	running int
	backlog []*serving // those that wait, first come first served
	gone    int        // how many of them have no caller any more
}

// lane returns the one that a request which is served here belongs to. p.mu guards it.
func (s *serving) lane() *lane { return &s.p.lanes[s.Envelope.Depth] }

// admit runs the request's handler in a goroutine of its own, or lets it wait
// for one that ends, or refuses it. It runs on the pump.
func (p *peer) admit(d *bus.Delivery, cmd *command) {
	s := &serving{runContext: runContext{Delivery: d}, p: p, cmd: cmd, cost: requestBytes + d.Size()}
	switch p.place(s) {
	case running:
		p.r.workers.start(s)
	case overloaded:
		p.overloaded(s.Envelope.ID, fmt.Sprintf("%d requests are waiting already, or all hold %d bytes", p.r.cfg.MaxBacklog, p.r.cfg.MaxHeldBytes))
	}
}

// placement is what becomes of a request.
type placement int

const (
	moot       placement = iota // a duplicate, or the link has closed
	running                     // a handler may run now
	waiting                     // in the backlog
	overloaded                  // refused
)

// place decides that, and counts the request in unless it is moot or refused.
func (p *peer) place(s *serving) placement {
	id, hash := s.Envelope.ID, hashID(s.Envelope.ID)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.in.get(id, hash) != nil {
		return moot
	}
	got, l := running, s.lane()
	switch {
	case p.tooMuch(s.cost):
		return overloaded
	case l.running < p.r.cfg.MaxInFlight:
		l.running++
	case p.waiting < p.r.cfg.MaxBacklog:
		got, s.queued = waiting, true
		l.backlog = append(l.backlog, s)
		p.waiting++
	default:
		return overloaded
	}
	p.in.add(&s.idEntry, id, hash, s)
	p.held += s.cost
	p.r.bus.Begin()
	return got
}

// tooMuch reports whether a request of that many bytes is more than may be held
// at once: one alone always may. p.mu is held.
func (p *peer) tooMuch(cost int) bool { return p.held > 0 && p.held+cost > p.r.cfg.MaxHeldBytes }

// unhold counts the bytes of s out, once. p.mu is held.
func (p *peer) unhold(s *serving) {
	p.held -= s.cost
	s.cost = 0
}

// run serves s, and returns what has come to wait for its place meanwhile.
func (s *serving) run() (next *serving) {
	exited := true // by runtime.Goexit in a handler, unless cleared
	defer func() {
		s.p.r.bus.End()
		next = s.p.next(s)
		if exited && next != nil {
			s.p.r.workers.start(next)
		}
	}()
	s.serve()
	exited = false
	return nil
}

// next takes the first of the backlog of the lane in which one has ended, or
// frees the place.
func (p *peer) next(ended *serving) *serving {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unhold(ended)
	l := ended.lane()
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
	defer s.over()
	s.result = result{fault: exitedFault}
	defer s.reply() // also when the handler calls runtime.Goexit
	s.begun = s.Begin()
	defer s.End()
	s.result = s.p.r.serve(s)
}

var exitedFault = &bus.Fault{Code: string(Internal), Message: "handler ended its goroutine"}

// reply sends what the handler gave, unless nothing waits for it any more.
func (s *serving) reply() {
	if !s.finished() {
		return
	}
	out := &s.result
	e := bus.Envelope{Type: bus.ExecuteResponse, Thread: s.Envelope.ID,
		Body: out.Body, Value: out.Value, Fault: out.fault, Metadata: out.metadata}
	s.Follow(&e, s.begun)
	var err error
	if out.message != nil {
		err = s.p.link.PostReply(e, out.message)
	} else {
		err = s.p.link.Post(e)
	}
	if err != nil && !errors.Is(err, bus.ErrClosed) {
		s.p.answer(e)
	}
}

// finished forgets the request. False if nothing waits for the reply: the
// caller has left, or was told that the link closes.
func (s *serving) finished() bool {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.in.remove(&s.idEntry)
	if !s.gone { // else it holds its bytes until the run has ended
		s.p.unhold(s)
	}
	return !s.gone && !s.p.closed
}

// refuse answers a request that is not going to be served.
func (p *peer) refuse(id string, f *bus.Fault) {
	p.answer(bus.Envelope{Type: bus.ExecuteResponse, Thread: id, Fault: f, Free: true})
}

// cancel ends the request with that ID, because its caller has left: one that
// runs has its context cancelled, one that waits never runs, one that was
// forwarded is cancelled there.
func (p *peer) cancel(id string) {
	hash := hashID(id)
	p.mu.Lock()
	e := p.in.get(id, hash)
	if e == nil {
		p.mu.Unlock()
		return
	}
	s := e.item
	p.in.remove(e)
	s.gone = true
	if s.queued {
		s.lane().forget()
		p.waiting--
		p.unhold(s)
		p.r.bus.End()
	}
	p.mu.Unlock()
	s.leave(context.Canceled)
}

// leave ends what is done for a request: the run's context, or the forwarding.
func (s *serving) leave(err error) {
	if s.route != nil {
		s.route.leave()
		return
	}
	s.end(err)
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
