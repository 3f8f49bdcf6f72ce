package memory

import (
	"context"
	"iter"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// PubSub is a [message.Publisher] and [message.Subscriber] within one
// process. Make one with [New]. All its methods may be called from any
// goroutine at any time.
type PubSub struct {
	opts     Options
	closing  chan struct{}  // closed by the first Close
	pumps    sync.WaitGroup // one for each subscription; Add under mu
	unrouted atomic.Uint64

	closed atomic.Bool              // set under mu
	topics sync.Map                 // string to *topic; written under mu
	few    [2]atomic.Pointer[topic] // some of them, which are found faster: a pair has no more; written under mu

	mu   sync.Mutex // guards what follows; taken before topic.mu
	past Stats      // of topics that are gone
}

var (
	_ message.Publisher  = (*PubSub)(nil)
	_ message.Subscriber = (*PubSub)(nil)
)

// New returns a PubSub. It panics on a negative size or duration in opts.
func New(opts Options) *PubSub {
	return &PubSub{
		opts:    opts.withDefaults(),
		closing: make(chan struct{}),
	}
}

// Publish gives msgs, in order, to every subscription that the topic has now.
// A message goes to all of them or to none, and all see the messages of a
// topic in one order. What is delivered is a copy, unless Options.HandOver
// says otherwise; Payload is shared and must not be changed any more.
//
// When a queue is full, Publish waits until there is room in all, or fails
// with [ErrFull] without publishing any of msgs, as Options.WhenFull says.
// While it waits it fails early with [ErrClosed] on Close, and with the error
// of the next message's context when that is done; messages before that one
// are published then. Such errors come in a [*PublishError] that says how far
// Publish came. A Publish that need not wait does not look at contexts.
//
// Without a subscription Publish reports to Options.OnUnrouted and returns
// nil. After Close it returns [ErrClosed]. A nil message makes it panic.
func (p *PubSub) Publish(topic string, msgs ...*message.Message) error {
	for _, msg := range msgs {
		if msg == nil {
			panic("memory: Publish of a nil message")
		}
	}
	if p.opts.HandOver {
		return p.publish(context.Background(), topic, msgs)
	}
	if len(msgs) == 1 { // without allocating a slice
		return p.publish(context.Background(), topic, []*message.Message{p.keep(msgs[0])})
	}
	kept := make([]*message.Message, len(msgs))
	for i, msg := range msgs {
		kept[i] = p.keep(msg)
	}
	return p.publish(context.Background(), topic, kept)
}

// keep copies what the publisher may change after Publish. The copy is never
// given to a subscriber, only copied again, so it has no ack channels. It keeps the
// context for the time that Publish waits, and to preserve it.
func (p *PubSub) keep(msg *message.Message) *message.Message {
	kept := &message.Message{UUID: msg.UUID, Payload: msg.Payload}
	if len(msg.Metadata) > 0 {
		kept.Metadata = maps.Clone(msg.Metadata)
	}
	kept.SetContext(msg.Context())
	return kept
}

// publish publishes messages that nothing else changes. A done ctx ends the
// wait for room.
func (p *PubSub) publish(ctx context.Context, name string, msgs []*message.Message) error {
	for done := 0; ; {
		t, closed := p.find(name), p.closed.Load()
		switch {
		case closed && done == 0:
			return ErrClosed
		case closed:
			return &PublishError{Topic: name, Published: done, Err: ErrClosed}
		case t == nil:
			p.reportUnrouted(name, msgs[done:])
			return nil
		}
		n, err := t.publish(ctx, p.closing, msgs[done:])
		done += n
		if err == nil && done == len(msgs) {
			return nil
		}
		if err != nil && err != errNoRoute {
			return &PublishError{Topic: name, Published: done, Err: err}
		}
		// The topic went away meanwhile. Another of that name may have come.
	}
}

func (p *PubSub) reportUnrouted(name string, msgs []*message.Message) {
	p.unrouted.Add(uint64(len(msgs)))
	for _, msg := range msgs {
		p.opts.Logger.LogAttrs(context.Background(), slog.LevelDebug, "memory: no subscription",
			slog.String("topic", name), slog.String("uuid", msg.UUID))
		if p.opts.OnUnrouted != nil {
			p.opts.OnUnrouted(name, msg.CopyWithContext())
		}
	}
}

// Subscribe returns a channel with the messages that are published to the
// topic from now on. Each must be acked or nacked; one that is not keeps its
// place in the window (Options.MaxUnacked) until the subscription ends.
//
// The subscription ends, and the channel is closed, when ctx is done or on
// Close. Messages that it then has queued or unacked are counted as
// Stats.Abandoned; an ack or nack after that has no effect. After Close
// Subscribe returns [ErrClosed].
func (p *PubSub) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s := &subscription{
		pubsub: p,
		opts:   &p.opts,
		output: make(chan *message.Message, p.opts.MaxUnacked),
		wake:   make(chan struct{}, 1),
		alarm:  time.NewTimer(maxPatrol),
	}
	s.alarm.Stop()
	s.ctx, s.cancel = context.WithCancel(ctx)

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		s.cancel()
		return nil, ErrClosed
	}
	t := p.topic(topic)
	s.topic = t
	t.mu.Lock()
	t.subs = append(t.subs, s)
	t.mu.Unlock()
	p.pumps.Go(s.run)
	return s.output, nil
}

// remove takes an ended subscription off its topic, and says what it leaves.
func (p *PubSub) remove(s *subscription) (queued, unacked int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := s.topic
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(s)
	queued, unacked = s.abandon()
	p.dropIfUnused(t)
	return queued, unacked
}

// find returns the topic of that name, or nil.
func (p *PubSub) find(name string) *topic {
	for i := range p.few {
		if t := p.few[i].Load(); t != nil && t.name == name {
			return t
		}
	}
	if t, ok := p.topics.Load(name); ok {
		return t.(*topic)
	}
	return nil
}

// topic returns the topic of that name, made if need be. p.mu is held.
func (p *PubSub) topic(name string) *topic {
	t := p.find(name)
	if t == nil {
		t = newTopic(name, &p.opts)
		p.topics.Store(name, t)
		p.few[0].CompareAndSwap(nil, t)
		if p.few[0].Load() != t {
			p.few[1].CompareAndSwap(nil, t)
		}
	}
	return t
}

// all is the topics.
func (p *PubSub) all() iter.Seq[*topic] {
	return func(yield func(*topic) bool) {
		p.topics.Range(func(_, t any) bool { return yield(t.(*topic)) })
	}
}

// dropIfUnused forgets a topic without subscriptions. p.mu and t.mu are held.
func (p *PubSub) dropIfUnused(t *topic) {
	if len(t.subs)+len(t.consumers) == 0 {
		p.topics.Delete(t.name)
		for i := range p.few {
			p.few[i].CompareAndSwap(t, nil)
		}
		p.past.add(t.total())
	}
}

// Close ends all subscriptions and waits until their channels are closed and
// their goroutines gone. It waits for no message: see [PubSub.Drain] for that.
// A Publish that waits returns [ErrClosed]. Close may be called any number of
// times, and returns nil.
func (p *PubSub) Close() error {
	for _, cancel := range p.shut() {
		cancel()
	}
	p.pumps.Wait()
	return nil
}

// shut refuses new work from now on. The first call returns all subscriptions,
// for which the caller holds no lock while it cancels their contexts.
func (p *PubSub) shut() (cancels []context.CancelFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Swap(true) {
		return nil
	}
	close(p.closing)
	for t := range p.all() {
		t.mu.Lock()
		for _, s := range t.subs {
			cancels = append(cancels, s.cancel)
		}
		for _, c := range t.consumers {
			cancels = append(cancels, c.cancel)
		}
		t.mu.Unlock()
	}
	return cancels
}
