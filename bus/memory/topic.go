package memory

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/internal/gate"
)

// topic is the subscriptions of one name. A topic exists as long as it has one.
type topic struct {
	name string
	opts *Options

	// mu guards everything about the topic and its subscriptions: their
	// queues, windows and deliveries too. A message enters all queues under
	// it, hence all subscribers see one order. No user code runs and nothing
	// waits while it is held: the one channel send under it, in
	// subscription.hand, has made sure that there is room. Publishers may come past it: see direct.
	mu     topicMutex
	subs   []*subscription // in order of Subscribe
	counts Stats           // all but the gauges, Unrouted, and what was published past mu

	consumers []*consumer                 // in order of SubscribeFunc; replaced, never changed in place
	fed       atomic.Pointer[[]*consumer] // the same, for readers that do not hold mu

	// Publishers that find a queue full go by turn: the one that holds the
	// token in turn waits for room, the rest for the token.
	queueing int           // publishers that have or want the turn; guarded by mu
	turn     chan struct{} // capacity 1; never closed
	wantRoom bool          // the turn's holder waits on room; guarded by mu
	room     chan struct{} // capacity 1; never closed
}

func newTopic(name string, opts *Options) *topic {
	t := &topic{
		name: name,
		opts: opts,
		turn: make(chan struct{}, 1),
		room: make(chan struct{}, 1),
	}
	t.mu.topic = t
	return t
}

// topicMutex is a mutex with a way past it: while one function is all that subscribes to the topic, and nothing waits for
// it, a publisher enters the gate and runs the function without locking anything. For those that lock it meanwhile
// that is the consumer's turn of a publisher.
type topicMutex struct {
	gate  gate.Gate
	topic *topic
	sole  *consumer // where the gate leads to; changes only while it is shut
}

func (m *topicMutex) Lock() {
	if m.gate.Lock() {
		m.sole.turn = publishers
	}
}

func (m *topicMutex) Unlock() {
	c := m.topic.idle()
	if c != nil {
		m.sole = c
	}
	m.gate.Unlock(c != nil)
}

// errNoRoute is returned for a topic that has no subscription any more.
var errNoRoute = errors.New("memory: no subscription")

// publish gives msgs to every subscription and says how many of them. If need
// be it waits for room; it stops waiting when closing is closed, or call or
// the context of the message that is next is done.
func (t *topic) publish(call context.Context, closing <-chan struct{}, msgs []*message.Message) (int, error) {
	if len(msgs) == 1 && t.direct(msgs[0]) {
		return 1, nil
	}
	n, err := t.enqueue(call, closing, msgs)
	if fed := t.fed.Load(); fed != nil && n > 0 {
		for _, c := range *fed {
			c.help()
		}
	}
	return n, err
}

func (t *topic) enqueue(call context.Context, closing <-chan struct{}, msgs []*message.Message) (int, error) {
	t.mu.Lock()
	if t.opts.WhenFull == Fail {
		defer t.mu.Unlock()
		return t.accept(msgs)
	}
	n, err := 0, error(nil)
	if t.queueing == 0 { // else others came first
		n, err = t.accept(msgs)
	}
	if n == len(msgs) || err != nil {
		t.mu.Unlock()
		return n, err
	}
	t.queueing++
	t.mu.Unlock()
	more, err := t.publishByTurn(call, closing, msgs[n:])
	t.mu.Lock()
	t.queueing--
	t.mu.Unlock()
	return n + more, err
}

// accept gives as many of msgs as fit, under Fail all or none, to every
// subscription in one step, and says how many. The caller holds t.mu.
func (t *topic) accept(msgs []*message.Message) (int, error) {
	receivers := len(t.subs) + len(t.consumers)
	if receivers == 0 {
		return 0, errNoRoute
	}
	n := len(msgs)
	for _, c := range t.consumers {
		n = min(n, c.free())
	}
	for _, s := range t.subs {
		n = min(n, s.free(n))
	}
	if n < len(msgs) && t.opts.WhenFull == Fail {
		return 0, ErrFull
	}
	handOver := t.opts.HandOver && receivers == 1
	for _, msg := range msgs[:n] {
		for _, c := range t.consumers {
			c.take(entry{msg: msg}, receivers == 1)
		}
		for _, s := range t.subs {
			s.take(entry{msg: msg, handOver: handOver})
		}
	}
	t.counts.Published += uint64(n)
	return n, nil
}

// publishByTurn is publish for a publisher that waits behind others.
func (t *topic) publishByTurn(call context.Context, closing <-chan struct{}, msgs []*message.Message) (done int, err error) {
	if err := t.await(call, closing, msgs[0], t.turn, nil); err != nil {
		return 0, err
	}
	defer func() { <-t.turn }()
	var stuck *time.Timer
	for {
		t.mu.Lock()
		n, err := t.accept(msgs[done:])
		done += n
		t.wantRoom = err == nil && done < len(msgs)
		enough := !t.wantRoom
		t.mu.Unlock()
		if enough {
			return done, err
		}
		if stuck == nil {
			stuck = time.AfterFunc(stuckAfter, t.sayStuck)
			defer stuck.Stop()
		}
		if err := t.await(call, closing, msgs[done], nil, t.room); err != nil {
			return done, err
		}
	}
}

// stuckAfter is how long a publisher waits for room before that is logged.
const stuckAfter = 10 * time.Second

func (t *topic) sayStuck() {
	t.opts.Logger.Warn("publisher waits for room, a subscriber is slow or publishes to a full topic that leads back to it",
		"topic", t.name, "waited", stuckAfter)
}

// await takes the turn or waits for room, whichever channel is not nil.
func (t *topic) await(call context.Context, closing <-chan struct{}, next *message.Message, turn chan<- struct{}, room <-chan struct{}) error {
	ctx := next.Context()
	select {
	case turn <- struct{}{}:
		return nil
	case <-room:
		return nil
	case <-closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	case <-call.Done():
		return call.Err()
	}
}

// signalRoom lets the waiting publisher, if any, try again. The caller holds
// t.mu.
func (t *topic) signalRoom() {
	if !t.wantRoom {
		return
	}
	select {
	case t.room <- struct{}{}:
	default: // it was told already
	}
}

// feed sets the consumers. t.mu is held.
func (t *topic) feed(consumers []*consumer) {
	t.consumers = consumers
	t.fed.Store(&consumers)
}

// remove takes s off the topic. Publishers that wait for room look again.
func (t *topic) remove(s *subscription) {
	i := slices.Index(t.subs, s)
	t.subs = slices.Delete(t.subs, i, i+1)
	t.signalRoom()
}
