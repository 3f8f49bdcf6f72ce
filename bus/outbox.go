package bus

import (
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// outbox is the bounded queue between the senders of a link and the one goroutine
// that publishes at a time. Nothing in it blocks but next.
//
// There are two queues. Answers and control messages go ahead; requests, events
// and what must not pass an event keep their order behind them. See lane.
type outbox struct {
	limit limits

	mu       outboxMutex
	ahead    fifo        // guarded by mu
	behind   fifo        // guarded by mu
	row      int         // guarded by mu: how many have gone ahead in a row while others waited behind
	aheadIn  uint64      // guarded by mu: how many have gone ahead, or are about to
	aheadOut uint64      // guarded by mu: how many of them have left the queue
	requests int         // guarded by mu: requests in behind
	loads    [kinds]load // guarded by mu: messages accepted and not yet published
	numbered uint64      // guarded by mu: events accepted so far, and what counts as one
	left     uint64      // guarded by mu: how many of them have left the queue
	busy     bool        // guarded by mu: a message is being published
	asleep   bool        // guarded by mu: the writer waits for wake
	closed   bool        // guarded by mu: nothing is accepted any more
	handlers line        // guarded by mu: replies that wait to be accepted
	callers  line        // guarded by mu: requests that do
	room     room        // guarded by mu: emitters that wait for room
	stall    stallWatch  // guarded by mu

	wake chan struct{} // capacity 1: something can be published, or closed changed
}

type outItem struct {
	msg   *message.Message
	typ   Type
	id    string
	size  int           // bytes, about
	after uint64        // replies: the number of the event that has to be published before; fences: how many of those ahead
	born  time.Duration // events, and requests of a link with presence: when it was queued here, since the link was made
	life  time.Duration // how long the event could be relayed then, or the request was waited for

	barrier chan struct{} // instead of a message: closed when everything before it was published

	kind     kind
	free     bool // replies: no event has to be published before
	admitted bool // it is counted in already
	ahead    bool // it goes ahead of requests and events; set when it is queued
	relayed  bool // events: it came from another registry
}

// kind is what bounds a message.
type kind uint8

const (
	traffic  kind = iota // events, and requests of callers here: at the limit they are refused, or wait
	answers              // what answers a request or controls: see hasRoom
	forwards             // requests of other registries: likewise
	barriers             // of goroutines that wait: never refused, and no messages
	kinds
)

// limits bounds what waits in an outbox, for each kind.
type limits struct{ items, bytes int }

// load is what waits.
type load limits

func (o *load) add(it *outItem)         { o.items++; o.bytes += it.size }
func (o *load) remove(it *outItem)      { o.items--; o.bytes -= it.size }
func (o *load) below(l limits) bool     { return o.items < l.items && o.bytes < l.bytes }
func (o *load) belowHalf(l limits) bool { return o.items <= l.items/2 && o.bytes <= l.bytes/2 }

// smallMessage is the size up to which a message that cannot wait has twice the room that others have.
const smallMessage = 4096

// aheadInRow is how many messages may go ahead in a row while others wait: so neither queue starves.
const aheadInRow = 4

func newOutbox(limit limits) *outbox {
	o := &outbox{limit: limit, wake: make(chan struct{}, 1)}
	o.mu.outbox = o
	return o
}

// push queues an item, or refuses it with ErrFull. waits says that the sender can wait then: see line.
func (o *outbox) push(it outItem, waits bool) error {
	o.mu.Lock()
	if err := o.admit(&it, waits); err != nil {
		o.mu.Unlock()
		return err
	}
	o.place(it)
	o.unlock()
	return nil
}

// enter is push for a sender that can publish itself: where nothing is queued
// before its message, it takes the place of the writer until leave.
func (o *outbox) enter(it *outItem, waits bool) (publish bool, err error) {
	o.mu.Lock()
	if err := o.admit(it, waits); err != nil {
		o.mu.Unlock()
		return false, err
	}
	if publish = o.takePlace(it); publish {
		o.mu.Unlock()
		return true, nil
	}
	o.place(*it)
	o.unlock()
	return false, nil
}

// takePlace lets a sender publish what was admitted. o.mu is held.
func (o *outbox) takePlace(it *outItem) bool {
	if o.busy || o.ahead.len() > 0 {
		return false
	}
	ahead := o.passes(it)
	if !ahead && o.behind.len() > 0 {
		return false
	}
	o.busy = true
	if it.ahead = ahead; ahead {
		o.aheadIn++
	}
	return true
}

// unlock unlocks o.mu, and wakes the writer if it sleeps and could publish. While a sender publishes, the writer could
// not: leave and giveBack wake it.
func (o *outbox) unlock() {
	wake := o.asleep && !o.busy
	o.asleep = o.asleep && !wake
	o.mu.Unlock()
	if wake {
		o.signal()
	}
}

// leave gives the writer its place back, once it has been published.
func (o *outbox) leave(it *outItem) {
	o.mu.Lock()
	if it.ahead {
		o.aheadOut++
	}
	o.published(it)
	o.busy = false
	if o.queued() || o.closed {
		o.unlock()
		return
	}
	o.mu.Unlock()
}

// giveBack leaves what enter was to publish to the writer, before all others.
func (o *outbox) giveBack(it outItem) {
	o.mu.Lock()
	if it.ahead {
		o.ahead.unpop(it)
	} else {
		o.behind.unpop(it)
		o.countRequest(&it, 1)
	}
	o.busy = false
	o.unlock()
}

// admit counts an item in, if there is room, unless it was before. o.mu is held.
func (o *outbox) admit(it *outItem, waits bool) error {
	switch {
	case o.closed && it.admitted:
		o.uncount(it)
		return ErrClosed
	case o.closed:
		return ErrClosed
	case it.admitted:
		return nil
	case !o.hasRoom(it, waits):
		return ErrFull
	}
	o.count(it)
	return nil
}

// hasRoom is the bound. Requests and events are refused at the limit, and so are the replies of handlers,
// which can wait. All others have no limit in items, since they belong to a request that was accepted, and those are
// bounded; and a limit in bytes, which is doubled for small ones: so an answer that finds no room can
// be replaced by a small error. o.mu is held.
func (o *outbox) hasRoom(it *outItem, waits bool) bool {
	switch {
	case it.kind == barriers:
		return true
	case waits:
		return o.lineOf(it).empty() && o.waiterFits(it)
	case it.kind == traffic:
		return o.loads[traffic].below(o.limit)
	case it.size <= smallMessage:
		return o.loads[it.kind].bytes/2 < o.limit.bytes
	}
	return o.loads[it.kind].bytes < o.limit.bytes
}

// waiterFits reports whether there is room for what can wait. Of the room for events and requests an eighth is left to
// events that are relayed, which cannot.
func (o *outbox) waiterFits(it *outItem) bool {
	l := o.limit
	if it.kind == traffic {
		l.items -= l.items / 8
	}
	return o.loads[it.kind].below(l)
}

// count counts an item in. o.mu is held.
func (o *outbox) count(it *outItem) {
	it.admitted = true
	o.loads[it.kind].add(it)
	if it.numbered() {
		o.numbered++
	}
	o.stall.arm(o.taken())
}

// uncount counts out what was admitted and is not going to be queued. o.mu is held.
func (o *outbox) uncount(it *outItem) {
	it.admitted = false
	o.loads[it.kind].remove(it)
}

// place queues an item that was admitted. o.mu is held.
func (o *outbox) place(it outItem) {
	if it.ahead = o.passes(&it); it.ahead {
		o.aheadIn++
		o.ahead.push(it)
		return
	}
	if it.fence() {
		it.after = o.aheadIn
	}
	o.behind.push(it)
	o.countRequest(&it, 1)
}

func (o *outbox) countRequest(it *outItem, n int) {
	if it.typ == ExecuteRequest {
		o.requests += n
	}
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) queued() bool { return o.ahead.len()+o.behind.len() > 0 }

// next waits for an item to publish. It returns false once the outbox is closed
// and empty. With mine set, it holds the one that was published last.
func (o *outbox) next(it *outItem, mine bool) bool {
	o.mu.Lock()
	if mine {
		o.published(it)
		o.busy = false
		*it = outItem{}
	}
	for {
		switch {
		case o.busy:
		case o.queued():
			o.busy = true
			*it = o.pop()
			o.mu.Unlock()
			return true
		case o.closed:
			o.mu.Unlock()
			return false
		}
		o.asleep = true
		o.mu.Unlock()
		<-o.wake
		o.mu.Lock()
	}
}

// pop takes what is to be published next. o.mu is held, and something is queued.
func (o *outbox) pop() outItem {
	if o.ahead.len() > 0 && (o.behind.len() == 0 || o.row < aheadInRow || o.fenced()) {
		o.row++
		o.aheadOut++
		return o.ahead.pop()
	}
	o.row = 0
	it := o.behind.pop()
	o.countRequest(&it, -1)
	if it.numbered() {
		o.left++
	}
	return it
}

// fenced reports whether what is first behind has to wait for what was sent before and has gone ahead. o.mu is held.
func (o *outbox) fenced() bool {
	it := o.behind.first()
	return it.fence() && it.after > o.aheadOut
}

// published counts one message out. o.mu is held.
func (o *outbox) published(it *outItem) {
	o.loads[it.kind].remove(it)
	o.stall.taken++
	o.room.published(o)
	o.grant()
}

// close refuses further pushes. What is queued is still published, unless
// discard is set; then it is returned.
func (o *outbox) close(last *outItem, discard bool) (left []outItem) {
	o.mu.Lock()
	if !o.closed && last != nil {
		o.loads[last.kind].add(last)
		o.place(*last)
	}
	o.closed = true
	if discard {
		left = append(o.ahead.takeAll(), o.behind.takeAll()...)
		for i := range left {
			o.loads[left[i].kind].remove(&left[i])
		}
		o.requests = 0
	}
	o.room.release()
	o.handlers.refuse()
	o.callers.refuse()
	o.stall.stop()
	o.unlock()
	return left
}

// len returns the number of messages accepted and not yet published.
func (o *outbox) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total() - o.loads[barriers].items
}

// total is the number of items, barriers included. o.mu is held.
func (o *outbox) total() (n int) {
	for _, l := range o.loads {
		n += l.items
	}
	return n
}
