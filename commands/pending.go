package commands

import (
	"sync"
	"time"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/ids"
)

// pending is the requests that were sent on a link and are not answered yet. It is split by ID, and IDs of our own are made
// so that a processor mostly uses one part: else the parts would move from one processor's cache to the other's.
type pending [16]pendingPart

type pendingPart struct {
	mu        sync.Mutex
	closed    bool               // guarded by mu: nothing is added any more
	byID      idTable[*exchange] // guarded by mu
	deadlines deadlines          // guarded by mu

	_ [24]byte // parts share no cache line
}

func (p *pending) open() {
	for i := range p {
		part := &p[i]
		part.deadlines.fire = part.expire
	}
}

// part returns the one that an ID belongs to: by its last letter, which is a hexadecimal digit in ours.
func (p *pending) part(id string) *pendingPart {
	c := id[len(id)-1]
	return &p[(c&15+c>>6*9)%byte(len(p))]
}

// add puts ex in under id, or under a fresh ID if that one is in use or empty, and
// starts its deadline. It fails once it is closed.
func (p *pending) add(ex *exchange, id string) bool {
	for ; ; id = "" {
		part, id, hash := p.lock(id)
		if part.closed {
			part.mu.Unlock()
			return false
		}
		if part.byID.get(id, hash) != nil {
			part.mu.Unlock()
			continue
		}
		part.byID.add(&ex.idEntry, id, hash, ex)
		part.deadlines.add(ex)
		part.mu.Unlock()
		return true
	}
}

// lock locks the part that an ID belongs to. For an empty one that is a fresh ID, of a part that is not locked if there
// is one: so callers do not wait for another one that was preempted.
func (p *pending) lock(id string) (part *pendingPart, used string, hash uint64) {
	if id == "" {
		near := nearby()
		for i := range uint32(len(p)) {
			id = ids.NewEnding(uint8(near + i)) // before the lock: to allocate may take long
			part, hash = p.part(id), hashID(id)
			if part.mu.TryLock() {
				return part, id, hash
			}
		}
	}
	part, hash = p.part(id), hashID(id)
	part.mu.Lock()
	return part, id, hash
}

// drop removes ex, and reports whether it was still there.
func (p *pending) drop(ex *exchange) bool {
	part := p.part(ex.id)
	part.mu.Lock()
	defer part.mu.Unlock()
	return part.remove(ex)
}

// take removes the exchange with that ID. Nil if it has been taken.
func (p *pending) take(id string) *exchange {
	if id == "" {
		return nil
	}
	part, hash := p.part(id), hashID(id)
	part.mu.Lock()
	defer part.mu.Unlock()
	e := part.byID.get(id, hash)
	if e == nil {
		return nil
	}
	part.remove(e.item)
	return e.item
}

// answered is take for a message of type t. wrong reports that there is an
// exchange with that ID, and that such a message does not answer it.
func (p *pending) answered(id string, t bus.Type) (ex *exchange, wrong bool) {
	part, hash := p.part(id), hashID(id)
	part.mu.Lock()
	e := part.byID.get(id, hash)
	switch {
	case e == nil:
	case e.item.owner.answer() != t:
		wrong = true
	default:
		ex = e.item
		part.remove(ex)
	}
	part.mu.Unlock()
	return ex, wrong
}

// remove takes ex out, and reports whether it was in. part.mu is held.
func (part *pendingPart) remove(ex *exchange) bool {
	if !part.byID.remove(&ex.idEntry) {
		return false
	}
	part.deadlines.remove(ex)
	return true
}

// len returns how many there are.
func (p *pending) len() (n int) {
	for i := range p {
		p[i].mu.Lock()
		n += p[i].byID.len()
		p[i].mu.Unlock()
	}
	return n
}

// isCall reports whether a call of the registry's own waits under that ID, for that command.
func (p *pending) isCall(id, command string) bool {
	part, hash := p.part(id), hashID(id)
	part.mu.Lock()
	defer part.mu.Unlock()
	e := part.byID.get(id, hash)
	if e == nil || e.item.command != command {
		return false
	}
	_, ok := e.item.owner.(*call)
	return ok
}

// close refuses further ones, and returns those that are left: the caller settles them.
func (p *pending) close() (left []*exchange) {
	for i := range p {
		part := &p[i]
		part.mu.Lock()
		part.closed = true
		for ex := range part.byID.all() {
			left = append(left, ex)
		}
		part.byID = idTable[*exchange]{}
		part.deadlines.stop()
		part.mu.Unlock()
	}
	return left
}

// expire settles the exchanges whose deadline has passed, and tells the peer
// that nothing waits for them any more. It is the alarm's function.
func (part *pendingPart) expire() {
	part.mu.Lock()
	expired := part.deadlines.due(part.byID.all())
	for _, ex := range expired {
		part.byID.remove(&ex.idEntry)
	}
	part.mu.Unlock()
	for _, ex := range expired {
		ex.to.cancelled(ex)
		ex.owner.settle(outcome{err: noReply(ex.command)})
	}
}

// begin makes ex wait for the answer, under id or a fresh one if that is in
// use or empty. It fails once the link has closed.
func (p *peer) begin(ex *exchange, id string, deadline time.Time) bool {
	ex.to, ex.at = p, deadline
	return p.out.add(ex, id)
}
