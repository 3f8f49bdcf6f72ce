package commands

import (
	"sync"
	"time"

	"github.com/leatbus/leat/bus"
)

// pending is the requests that were sent on a link and are not answered yet.
// It is split by ID: with thousands of callers, one mutex was what most of
// them waited for, each woken behind all the others.
type pending [16]pendingPart

type pendingPart struct {
	mu        sync.Mutex
	closed    bool                 // guarded by mu: nothing is added any more
	byID      map[string]*exchange // guarded by mu
	deadlines deadlines            // guarded by mu
}

func (p *pending) open() {
	for i := range p {
		part := &p[i]
		part.byID = make(map[string]*exchange)
		part.deadlines.fire = part.expire
	}
}

// part returns the one that an ID belongs to: by its last letter, which is a hexadecimal digit in ours.
func (p *pending) part(id string) *pendingPart {
	c := id[len(id)-1]
	return &p[(c&15+c>>6*9)%byte(len(p))]
}

// add puts ex in under id, or under a fresh ID if that one is in use, and
// starts its deadline. It fails once it is closed.
func (p *pending) add(ex *exchange, id string) bool {
	for ; ; id = bus.NewID() {
		part := p.part(id)
		part.mu.Lock()
		if part.closed {
			part.mu.Unlock()
			return false
		}
		if part.byID[id] != nil {
			part.mu.Unlock()
			continue
		}
		ex.id = id
		part.byID[id] = ex
		part.deadlines.add(ex)
		part.mu.Unlock()
		return true
	}
}

// drop removes ex, and reports whether it was still there.
func (p *pending) drop(ex *exchange) bool {
	part := p.part(ex.id)
	part.mu.Lock()
	defer part.mu.Unlock()
	if part.byID[ex.id] != ex {
		return false
	}
	part.remove(ex)
	return true
}

// take removes the exchange with that ID. Nil if it has been taken.
func (p *pending) take(id string) *exchange {
	part := p.part(id)
	part.mu.Lock()
	ex := part.byID[id]
	if ex != nil {
		part.remove(ex)
	}
	part.mu.Unlock()
	return ex
}

// remove takes ex out. part.mu is held.
func (part *pendingPart) remove(ex *exchange) {
	delete(part.byID, ex.id)
	part.deadlines.remove(ex)
}

// len returns how many there are.
func (p *pending) len() (n int) {
	for i := range p {
		p[i].mu.Lock()
		n += len(p[i].byID)
		p[i].mu.Unlock()
	}
	return n
}

// isCall reports whether a call of the registry's own waits under that ID, for that command.
func (p *pending) isCall(id, command string) bool {
	part := p.part(id)
	part.mu.Lock()
	defer part.mu.Unlock()
	ex := part.byID[id]
	if ex == nil || ex.command != command {
		return false
	}
	_, ok := ex.owner.(*call)
	return ok
}

// close refuses further ones, and returns those that are left: the caller settles them.
func (p *pending) close() (left []*exchange) {
	for i := range p {
		part := &p[i]
		part.mu.Lock()
		part.closed = true
		for _, ex := range part.byID {
			left = append(left, ex)
		}
		part.byID = nil
		part.deadlines.stop()
		part.mu.Unlock()
	}
	return left
}

// expire settles the exchanges whose deadline has passed, and tells the peer
// that nothing waits for them any more. It is the alarm's function.
func (part *pendingPart) expire() {
	part.mu.Lock()
	expired := part.deadlines.due()
	for _, ex := range expired {
		delete(part.byID, ex.id)
	}
	part.mu.Unlock()
	for _, ex := range expired {
		ex.to.cancelled(ex)
		ex.owner.settle(outcome{err: noReply(ex.command)})
	}
}

// begin makes ex wait for the answer, under id or a fresh one if that is in
// use. It fails once the link has closed.
func (p *peer) begin(ex *exchange, id string, deadline time.Time) bool {
	ex.to, ex.at = p, deadline
	return p.out.add(ex, id)
}
