package fleet

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
)

// outbox is the bounded queue in front of one topic, and the goroutine that publishes what is in it: in order, and
// many messages at once where they have come while it was at the ones before.
type outbox struct {
	fleet *Fleet
	topic string
	to    publishing // the publisher's Publish, or that of the queue
	pack  packing
	done  chan struct{} // closed when the goroutine has ended
	gave  atomic.Bool   // a reply was given up

	mu     sync.Mutex
	wake   sync.Cond     // of mu: items or closed changed
	items  []outItem     // guarded by mu
	spare  []outItem     // guarded by mu: an array for items, nobody's
	busy   bool          // guarded by mu: who helps is publishing what was queued before items
	size   int           // guarded by mu: items, and those being published
	bytes  int           // guarded by mu: of the same
	closed bool          // guarded by mu: no more pushes
	room   chan struct{} // guarded by mu: closed when there is room again; nil when nobody waits
	end    chan struct{} // closed with closed: nothing is tried again any more
}

// packing makes messages of letters to a topic, in order. It is called with the same ones again if they could not be published.
type packing func(topic string, items []outItem) ([]*message.Message, error)

// singles makes a message of each letter, the same one each time.
func (f *Fleet) singles(topic string, items []outItem) ([]*message.Message, error) {
	messages := make([]*message.Message, len(items))
	for i := range items {
		if items[i].msg == nil {
			m, err := items[i].letter.seal()
			if err != nil {
				return nil, err
			}
			f.sign(topic, m)
			items[i].msg = m
		}
		messages[i] = items[i].msg
	}
	return messages, nil
}

// outItem is one letter. A call goes with its request, and is told if that is never published.
type outItem struct {
	letter  *letter
	topic   string           // of letters to inboxes that have no outbox of their own; else empty
	msg     *message.Message // of singles
	kind    itemKind
	bytes   int  // about what it takes
	helped  bool // whoever pushes it calls help
	call    *call
	to      *member
	expires time.Time // of a request: nobody waits for the reply then
}

// itemKind says how much room a message has.
type itemKind int

const (
	itemRequest itemKind = iota // and events: up to the bound
	itemAnswer                  // replies, cancels and notices: twice that, since refusing one leaves somebody waiting
)

// maxBatch bounds the messages of one Publish.
const maxBatch = 256

func (f *Fleet) newOutbox(topic string, pack packing) *outbox {
	o := &outbox{fleet: f, topic: topic, to: f.pub.Publish, pack: pack, done: make(chan struct{}), end: make(chan struct{})}
	o.wake.L = &o.mu
	f.workers.Go(o.run)
	return o
}

// push queues it, and reports whether there was room. It does not block.
func (o *outbox) push(it outItem) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || !o.hasRoom(it.kind) {
		return false
	}
	it.bytes = it.letter.size()
	o.items = append(o.items, it)
	o.size++
	o.bytes += it.bytes
	if !it.helped {
		o.wake.Signal()
	}
	return true
}

// maxQueued bounds what waits to be published on one topic, in bytes; answers have twice that. A letter that is longer alone is
// taken where nothing waits.
const maxQueued = 64 << 20

// hasRoom reports whether such an item would be taken. o.mu is held.
func (o *outbox) hasRoom(kind itemKind) bool {
	factor := 1
	if kind == itemAnswer {
		factor = 2
	}
	return o.size/factor < o.fleet.opts.QueueSize && o.bytes/factor < maxQueued
}

// full returns nil if push would take such an item or never will; else a channel that is closed when it is worth
// another look.
func (o *outbox) full(kind itemKind) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.hasRoom(kind) {
		return nil
	}
	if o.room == nil {
		o.room = make(chan struct{})
	}
	return o.room
}

// has reports whether push would take such an item.
func (o *outbox) has(kind itemKind) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.closed && o.hasRoom(kind)
}

// help publishes an item that was pushed for it, in the goroutine's place if nothing else is there.
func (o *outbox) help() {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer func() {
		if len(o.items) > 0 || o.closed {
			o.wake.Signal()
		}
	}()
	if o.size != 1 || len(o.items) != 1 {
		return
	}
	items := o.more()
	o.busy = true
	o.mu.Unlock()
	err := o.publish(items, o.fleet.prompt)
	o.mu.Lock()
	o.busy = false
	if err == nil {
		o.counted(items)
	} else {
		o.items = slices.Insert(o.items, 0, items[0])
	}
	o.keep(items)
}

// close refuses further pushes. What is queued is still published where keep says so; the rest is returned.
func (o *outbox) close(keep func(*outItem) bool) (left []outItem) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed = true
		close(o.end)
	}
	kept := o.items[:0]
	for _, it := range o.items {
		if keep(&it) {
			kept = append(kept, it)
		} else {
			left = append(left, it)
		}
	}
	o.size -= len(left)
	o.bytes -= bytesOf(left)
	o.items = kept
	o.release()
	o.wake.Signal()
	return left
}

// release wakes those who wait for room. o.mu is held.
func (o *outbox) release() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

// run is the goroutine.
func (o *outbox) run() {
	defer close(o.done)
	for {
		items := o.take()
		if items == nil {
			return
		}
		o.deliver(o.live(items))
		o.mu.Lock()
		o.keep(items)
		o.mu.Unlock()
	}
}

// take waits for items, and returns nil once the outbox is closed and empty.
func (o *outbox) take() []outItem {
	o.mu.Lock()
	defer o.mu.Unlock()
	for waited := false; ; {
		switch {
		case o.busy || len(o.items) == 0 && !o.closed:
			o.wake.Wait()
		case len(o.items) == 0:
			return nil
		case len(o.items) < maxBatch && !waited: // others are about to push, if there is work for the processor
			waited = true
			o.mu.Unlock()
			runtime.Gosched()
			o.mu.Lock()
		default:
			return o.more()
		}
	}
}

// more takes what is there. o.mu is held.
func (o *outbox) more() []outItem {
	n := min(len(o.items), maxBatch)
	if n == 0 {
		return nil
	}
	items := o.items[:n:n]
	if o.items = o.items[n:]; len(o.items) == 0 {
		o.items, o.spare = o.spare, nil
	}
	return items
}

// keep takes back the array of items that are dealt with. o.mu is held.
func (o *outbox) keep(items []outItem) {
	if o.spare == nil {
		o.spare = emptied(items[:cap(items)])
	}
}

// promptPublisher is a publisher that can do without waiting, and without running anybody else's code, or says that it
// cannot: one of NATS core is. Then who asks or answers alone does not wait for the outbox's goroutine to wake up.
type promptPublisher interface {
	PublishAtOnce(topic string, messages ...*message.Message) error
}

// packingPublisher is a publisher that can make one message of many where all subscribers are of its kind, as those to the events of a fleet
// are: one of RabbitMQ is.
type packingPublisher interface {
	PublishPacked(topic string, messages ...*message.Message) error
}

// together is how many letters are published at once.
func (o *outbox) together() publishing {
	if p, ok := o.fleet.pub.(packingPublisher); ok && o.topic == o.fleet.names.events {
		return p.PublishPacked
	}
	return o.to
}

// publishing is a publisher's Publish.
type publishing func(topic string, messages ...*message.Message) error

// out counts items out, published or not. Callers that wait for room are woken when half of it is there: else
// thousands would wake up for each single place.
func (o *outbox) out(items []outItem) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counted(items)
}

// counted is out. o.mu is held.
func (o *outbox) counted(items []outItem) {
	o.size -= len(items)
	o.bytes -= bytesOf(items)
	if o.size <= o.fleet.opts.QueueSize/2 && o.bytes <= maxQueued/2 {
		o.release()
	}
}

func bytesOf(items []outItem) (n int) {
	for i := range items {
		n += items[i].bytes
	}
	return n
}

func (o *outbox) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size
}

// live drops the requests that nobody waits for any more.
func (o *outbox) live(items []outItem) []outItem {
	now := time.Now()
	alive, expired := items[:0], []outItem(nil)
	for _, it := range items {
		if it.expires.IsZero() || now.Before(it.expires) {
			alive = append(alive, it)
		} else {
			expired = append(expired, it)
		}
	}
	if n := len(expired); n > 0 {
		o.fleet.count.expired.Add(uint64(n))
		o.out(expired)
	}
	return alive
}

// deliver publishes the items, and tries again for up to a lease: brokers restart. A message that is refused several
// times while the one behind it is taken is given up.
func (o *outbox) deliver(items []outItem) {
	if len(items) == 0 {
		return
	}
	err := o.publish(items, o.together())
	if err == nil {
		o.out(items)
		return
	}
	if refused(err) {
		items, err = o.sift(items)
	}
	since := time.Now()
	for tries := 1; len(items) > 0; tries++ {
		if time.Since(since) > o.fleet.opts.Lease || !o.pause(tries) {
			o.give(items, err)
			return
		}
		for len(items) > 0 {
			if err = o.publish(items[:1], o.to); err != nil {
				if refused(err) {
					o.give(items[:1], err)
					items = items[1:]
					continue
				}
				break
			}
			o.out(items[:1])
			items, tries, since = items[1:], 0, time.Now()
		}
		if err != nil && tries > 3 && o.unblock(&items, err) {
			tries, since = 0, time.Now()
		}
	}
}

// refused reports whether the broker has said of a message that it does not take it: it is too large, or its queue is full.
func refused(err error) bool { return errors.Is(err, bus.ErrTooLarge) || errors.Is(err, bus.ErrFull) }

// sift publishes the items one by one, and gives up those that the broker refuses, at once. It returns what is left where
// something else is wrong.
func (o *outbox) sift(items []outItem) (left []outItem, err error) {
	for len(items) > 0 {
		switch err = o.publish(items[:1], o.to); {
		case err == nil:
			o.out(items[:1])
		case refused(err):
			o.give(items[:1], err)
		default:
			return items, err
		}
		items = items[1:]
	}
	return nil, nil
}

// unblock gives up the first of items, which was refused, if the broker takes the one behind it, and still not the
// first then. No event overtakes another: there the broker has to take one that says nothing, in the place of the one behind.
func (o *outbox) unblock(items *[]outItem, err error) bool {
	if len(*items) == 1 {
		o.mu.Lock()
		if len(o.items) > 0 && !o.items[0].letter.last() {
			*items = append(slices.Clone(*items), o.more()...)
		}
		o.mu.Unlock()
	}
	if len(*items) == 1 || (*items)[1].letter.last() {
		return false
	}
	other, taken := (*items)[1:2], 2
	if f := o.fleet; o.topic == f.names.events {
		other, taken = []outItem{{letter: &letter{process: f.self, kind: kindProbe, thread: "events", sent: f.stamp()}}}, 1
	}
	if o.publish(other, o.to) != nil {
		return false
	}
	if again := o.publish((*items)[:1], o.to); again != nil {
		o.give((*items)[:1], err)
	} else {
		o.out((*items)[:1])
	}
	o.out((*items)[1:taken])
	*items = (*items)[taken:]
	return true
}

const (
	firstPause = 50 * time.Millisecond
	maxPause   = 500 * time.Millisecond
)

// pause waits before another try. False if there is to be none.
func (o *outbox) pause(tries int) bool {
	timer := time.NewTimer(min(firstPause<<min(tries, 8), maxPause))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-o.end:
		return false
	}
}

// give accounts for messages that were never published.
func (o *outbox) give(items []outItem, err error) {
	if slices.ContainsFunc(items, func(it outItem) bool { return it.letter.executed() }) {
		o.gave.Store(true)
	}
	o.out(items)
	o.fleet.unsent(o.topic, items, err)
	for _, it := range items {
		if l := it.letter; l.executed() && l.envelope.Fault == nil { // its caller waits; a refusal may be short enough
			refusal := letter{process: l.process, to: l.to, sent: l.sent, envelope: response(l.envelope.Thread, unsendable(err))}
			o.push(outItem{kind: itemAnswer, letter: &refusal})
		}
	}
}

func (o *outbox) publish(items []outItem, publish publishing) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in publisher: %v", p)
		}
	}()
	if o.gave.Load() {
		for i := range items {
			if l := items[i].letter; l.drained {
				l.drained = false
			}
		}
	}
	if err := o.publishTo(items, publish); err != nil {
		return err
	}
	o.fleet.count.sent.Add(uint64(len(items)))
	for i := range items {
		if c := items[i].call; c != nil {
			c.published.Store(true)
		}
	}
	return nil
}

// publishTo publishes the items, those behind one another that go to the same topic at once.
func (o *outbox) publishTo(items []outItem, publish publishing) error {
	for len(items) > 0 {
		n := 1
		for n < len(items) && items[n].topic == items[0].topic {
			n++
		}
		topic := o.topic
		if topic == "" {
			topic = items[0].topic
		}
		messages, err := o.pack(topic, items[:n])
		if err != nil {
			return err
		}
		if err := publish(topic, messages...); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}
