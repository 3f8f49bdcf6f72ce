package memory

import (
	"context"
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"
)

// consumer is a subscription that is a function. Where nothing waits, it runs
// on the goroutine that publishes: no channel, no wake-up, no ack. What is
// published meanwhile waits in its queue for the consumer's own goroutine, so
// that no publisher is held up by the messages of others.
type consumer struct {
	pubsub *PubSub
	topic  *topic
	fn     func(*message.Message)
	ctx    context.Context // ends the subscription
	cancel context.CancelFunc
	wake   chan struct{} // capacity 1; tells the goroutine to look again
	ended  chan struct{} // closed when fn will not be called any more

	// Guarded by topic.mu.
	queue   []*message.Message // what waits
	backing []*message.Message // the array that an empty queue starts in again
	turn    turn
	gone    bool // the subscription has ended
}

// turn says which goroutine runs fn.
type turn int

const (
	nobodys    turn = iota
	publishers      // a publisher does, for one message
	goroutines      // the consumer's goroutine does, until the queue is empty
)

// SubscribeFunc calls fn for each message that is published to topic: one at a
// time, in order, on the publisher's goroutine or on one of the
// subscription's own. fn must not block, nor panic: publishers wait for it.
// A message is done with when fn returns; acks and nacks mean nothing. It has the
// context that it was published with, and is the published message itself
// under the conditions of HandOver, a copy otherwise.
//
// The subscription ends with ctx, or with Close; ended is closed when fn has
// returned for the last time. Messages that waited then are counted as Abandoned.
// QueueSize bounds what waits, WhenFull says what happens there.
func (p *PubSub) SubscribeFunc(ctx context.Context, topic string, fn func(*message.Message)) (ended <-chan struct{}, err error) {
	c := &consumer{pubsub: p, fn: fn, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		c.cancel()
		return nil, ErrClosed
	}
	c.topic = p.topic(topic)
	c.topic.mu.Lock()
	c.topic.feed(append(slices.Clone(c.topic.consumers), c))
	c.topic.mu.Unlock()
	p.pumps.Go(c.run)
	return c.ended, nil
}

// free says how many more messages would be taken, without regard for want.
// topic.mu is held, here and in take and next.
func (c *consumer) free() int { return c.topic.opts.QueueSize + 1 - len(c.queue) }

func (c *consumer) take(e entry, alone bool) {
	msg := e.msg
	if !alone {
		msg = msg.CopyWithContext()
	}
	if len(c.queue) == 0 {
		c.queue = c.backing[:0]
	}
	if c.queue = append(c.queue, msg); len(c.queue) == 1 {
		c.backing = c.queue
	}
	c.topic.counts.Delivered++
}

// next takes the first message of the queue.
func (c *consumer) next() (msg *message.Message) {
	if len(c.queue) == 0 || c.gone {
		return nil
	}
	msg, c.queue[0] = c.queue[0], nil
	if c.queue = c.queue[1:]; len(c.queue) <= c.topic.opts.QueueSize/2 {
		c.topic.signalRoom()
	}
	c.topic.counts.Acked++
	return msg
}

// help runs fn for one message, unless another goroutine is at it, and leaves the rest
// to the goroutine. Publishers call it when they have let go of topic.mu.
func (c *consumer) help() {
	mu := &c.topic.mu
	mu.Lock()
	var msg *message.Message
	if c.turn == nobodys {
		msg = c.next()
	}
	if msg == nil {
		mu.Unlock()
		return
	}
	c.turn = publishers
	mu.Unlock()
	defer c.helpEnded() // also when fn panics, or ends the goroutine
	c.fn(msg)
}

// helpEnded ends a publisher's turn.
func (c *consumer) helpEnded() {
	c.topic.mu.Lock()
	c.endTurn()
}

// gateEnded ends the turn of a publisher that came through the gate.
func (c *consumer) gateEnded() {
	if !c.topic.mu.gate.Leave(true) {
		c.endTurn()
	}
}

// endTurn ends a publisher's turn. topic.mu is held, and released.
func (c *consumer) endTurn() {
	c.turn = nobodys
	if len(c.queue) > 0 && !c.gone {
		c.turn = goroutines
	}
	look := c.turn == goroutines || c.gone
	c.topic.mu.Unlock()
	if look {
		c.signal()
	}
}

// TryPublish is Publish of one message for callers that cannot wait: it does nothing, and returns false, unless the topic
// has one subscriber only, which is a function (see [PubSub.SubscribeFunc]), and nothing waits for that. Then the function
// has run, on the calling goroutine, when it returns true.
func (p *PubSub) TryPublish(topic string, msg *message.Message) bool {
	t := p.find(topic)
	if t == nil || p.closed.Load() {
		return false
	}
	if !p.opts.HandOver {
		msg = p.keep(msg)
	}
	return t.direct(msg)
}

// direct is take and help in one, for the message that nothing waits before and no other subscription receives. It reports
// whether it has done it.
func (t *topic) direct(msg *message.Message) bool {
	if !t.mu.gate.Enter() {
		return false
	}
	c := t.mu.sole
	defer c.gateEnded() // also when fn panics, or ends the goroutine
	c.fn(msg)
	return true
}

// idle returns the consumer that is all that the topic has, if nothing waits for it and it is nobody's turn. mu is held.
func (t *topic) idle() *consumer {
	if len(t.consumers) != 1 || len(t.subs) > 0 || t.queueing > 0 {
		return nil
	}
	if c := t.consumers[0]; c.turn == nobodys && len(c.queue) == 0 && !c.gone {
		return c
	}
	return nil
}

func (c *consumer) signal() {
	select {
	case c.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// run is the consumer's goroutine. If fn ends it, another one goes on.
func (c *consumer) run() {
	exited := true
	defer func() {
		if exited {
			c.signal() // something may wait
			c.pubsub.pumps.Go(c.run)
			return
		}
		close(c.ended)
	}()
	for {
		select {
		case <-c.wake:
			c.drain()
		case <-c.ctx.Done():
			c.end()
			exited = false
			return
		}
	}
}

// drain runs fn for what waits, if that is the goroutine's turn.
func (c *consumer) drain() {
	c.topic.mu.Lock()
	defer c.topic.mu.Unlock()
	for c.turn == goroutines {
		msg := c.next()
		if msg == nil {
			c.turn = nobodys
			return
		}
		c.call(msg)
	}
}

// call runs fn without topic.mu, which is held before and after.
func (c *consumer) call(msg *message.Message) {
	c.topic.mu.Unlock()
	defer c.topic.mu.Lock()
	c.fn(msg)
}

// end takes the consumer out of its topic, and waits for a publisher that is
// running fn.
func (c *consumer) end() {
	c.cancel()
	c.pubsub.removeConsumer(c)
	for c.helped() {
		<-c.wake
	}
}

func (c *consumer) helped() bool {
	c.topic.mu.Lock()
	defer c.topic.mu.Unlock()
	return c.turn == publishers
}

// removeConsumer takes c out of its topic, and the topic out of the PubSub
// when it was the last.
func (p *PubSub) removeConsumer(c *consumer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := c.topic
	t.mu.Lock()
	defer t.mu.Unlock()
	c.gone = true
	t.counts.Abandoned += uint64(len(c.queue))
	c.queue = nil
	i := slices.Index(t.consumers, c)
	t.feed(slices.Delete(slices.Clone(t.consumers), i, i+1))
	t.signalRoom()
	p.dropIfUnused(t)
}
