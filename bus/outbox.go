package bus

import (
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// outbox is the bounded queue between those who send on a link and the one
// goroutine that publishes. A push never blocks, so that a pump can forward.
type outbox struct {
	bound int // for requests and events; what answers may use twice as much

	mu     sync.Mutex
	items  []outItem     // guarded by mu
	size   int           // guarded by mu: items, and those being published
	busy   bool          // guarded by mu: somebody is publishing what was queued before items
	asleep bool          // guarded by mu: the writer waits for wake
	closed bool          // guarded by mu: no more pushes
	room   chan struct{} // guarded by mu: closed when there is room again; nil when nobody waits

	wake chan struct{} // capacity 1: items, busy or closed changed
}

type outItem struct {
	msg     *message.Message
	typ     Type
	id      string
	born    time.Duration // events, and requests of a link with presence: when it was queued here, since the link was made
	life    time.Duration // how long the event could be relayed then, or the request was waited for
	relayed bool          // events: it came from another registry

	barrier chan struct{} // instead of a message: closed when everything before it was published
}

func newOutbox(bound int) *outbox {
	return &outbox{bound: bound, wake: make(chan struct{}, 1)}
}

// push queues it. Requests and events are refused with ErrFull at the bound;
// answers and control messages have twice the room, because refusing one
// would leave the peer waiting.
func (o *outbox) push(it outItem) error {
	o.mu.Lock()
	if err := o.admit(&it); err != nil {
		o.mu.Unlock()
		return err
	}
	o.items = append(o.items, it)
	wake := o.rouse()
	o.mu.Unlock()
	if wake {
		o.signal()
	}
	return nil
}

// rouse reports whether the writer has to be woken. o.mu is held.
func (o *outbox) rouse() bool {
	asleep := o.asleep
	o.asleep = false
	return asleep
}

// enter is push for a sender that can publish itself: where nothing is queued
// and nobody publishes, it takes the place of the writer until leave.
func (o *outbox) enter(it outItem) (publish bool, err error) {
	o.mu.Lock()
	if err := o.admit(&it); err != nil {
		o.mu.Unlock()
		return false, err
	}
	if !o.busy && len(o.items) == 0 {
		o.busy = true
		o.mu.Unlock()
		return true, nil
	}
	o.items = append(o.items, it)
	wake := o.rouse()
	o.mu.Unlock()
	if wake {
		o.signal()
	}
	return false, nil
}

// leave gives the writer its place back.
func (o *outbox) leave() {
	o.mu.Lock()
	o.published()
	o.busy = false
	wake := (len(o.items) > 0 || o.closed) && o.rouse()
	o.mu.Unlock()
	if wake {
		o.signal()
	}
}

// giveBack leaves what enter was to publish to the writer, before all others.
func (o *outbox) giveBack(it outItem) {
	o.mu.Lock()
	o.items = slices.Insert(o.items, 0, it)
	o.busy = false
	wake := o.rouse()
	o.mu.Unlock()
	if wake {
		o.signal()
	}
}

// admit counts it in, if there is room. o.mu is held.
func (o *outbox) admit(it *outItem) error {
	bound := o.bound
	if it.typ != ExecuteRequest && it.typ != Event {
		bound *= 2
	}
	switch {
	case o.closed:
		return ErrClosed
	case o.size >= bound:
		return ErrFull
	}
	o.size++
	return nil
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// keptItems bounds the memory that a link keeps for a queue that is empty.
const keptItems = 1024

// take waits for items and returns all of them; spare is reused for the next.
// It returns nil once the outbox is closed and empty. It ends the turn that
// the take before has begun.
func (o *outbox) take(spare []outItem, mine bool) []outItem {
	for {
		o.mu.Lock()
		if mine {
			o.busy, mine = false, false
		}
		if !o.busy && len(o.items) > 0 {
			items := o.items
			o.items = spare[:0]
			o.busy = true
			o.mu.Unlock()
			return items
		}
		ended := o.closed && !o.busy
		o.asleep = !ended
		if cap(o.items) > keptItems && len(o.items) == 0 {
			o.items = nil
		}
		o.mu.Unlock()
		if cap(spare) > keptItems {
			spare = nil
		}
		if ended {
			return nil
		}
		<-o.wake
	}
}

// done tells that one taken item has been published.
func (o *outbox) done() {
	o.mu.Lock()
	o.published()
	o.mu.Unlock()
}

// published counts one message out. o.mu is held. Those who wait for room are
// woken all at once, so only when half of it is there: else thousands would
// wake up for each single place.
func (o *outbox) published() {
	o.size--
	if o.room != nil && o.size <= o.bound/2 {
		close(o.room)
		o.room = nil
	}
}

// roomFor returns nil if a request or event would be taken, or the outbox is
// closed; else a channel that is closed when it is worth another look.
func (o *outbox) roomFor() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.size < o.bound {
		return nil
	}
	if o.room == nil {
		o.room = make(chan struct{})
	}
	return o.room
}

// close refuses further pushes. What is queued is still published, unless
// discard is set; then it is returned.
func (o *outbox) close(last *outItem, discard bool) (left []outItem) {
	o.mu.Lock()
	if !o.closed && last != nil {
		o.items = append(o.items, *last)
		o.size++
	}
	o.closed = true
	if discard {
		left, o.items = o.items, nil
		o.size -= len(left)
	}
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
	wake := o.rouse()
	o.mu.Unlock()
	if wake {
		o.signal()
	}
	return left
}

// len returns the number of messages accepted and not yet published.
func (o *outbox) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size
}
