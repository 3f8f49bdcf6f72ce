package brokers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/pairing"
)

// Broker is an open connection to a message broker. All methods are safe for
// concurrent use. It belongs to the code that opened it: channels, fleets and routers
// that use it do not close it. Close it after their end.
type Broker struct {
	opts    Options
	log     *slog.Logger
	backend backend
	secrets *secrets
	named   bool // Options.Namespace is the caller's

	skipped, probes, gaps, lost, trimmed, republished atomic.Uint64
	subscriptions                                     atomic.Int64

	mu      sync.Mutex
	closed  bool          // guarded by mu
	gap     chan struct{} // guarded by mu: closed and replaced when messages may have been lost
	running int           // guarded by mu: subscriptions and Publish calls
	idle    chan struct{} // guarded by mu: closed when closed and none is running
	closing chan struct{} // closed by Close
	done    chan struct{} // closed when Close has finished
	err     error         // of Close; read after done
}

// Stats are counters of a broker since it was opened, but for Subscriptions.
type Stats struct {
	Subscriptions int    // that are live now
	Skipped       uint64 // messages that were none of ours: acked, logged and not handed on
	Republished   uint64 // tries to publish again after the connection was broken
	Probes        uint64 // messages published to prove that a subscription is live
	Gaps          uint64 // times that messages may have been lost with the connection
	Lost          uint64 // messages known to be dropped because a subscriber was too slow
	// Trimmed are messages that Retention and MaxMessages have taken from fan-out topics, read or not: on Redis and Postgres by this
	// process, on JetStream in the namespace. RabbitMQ and Kafka do not tell.
	Trimmed uint64
}

func newBroker(opts Options) *Broker {
	return &Broker{
		opts:    opts,
		log:     opts.Logger,
		secrets: new(secrets),
		gap:     make(chan struct{}),
		idle:    make(chan struct{}),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
}

// Publisher publishes to any topic that [Broker.Topic] has named. Publish
// returns when the broker has the message, where there is a way to know (NATS
// core has none), and fails when it cannot be reached within Options.PublishRetry. It may be called from many goroutines; order is kept within a goroutine. Its
// Close does nothing.
//
// The messages of one call are on their way together, in order, so that many a call are cheaper than many calls. A message that is larger
// than the broker takes is refused, with ErrTooLarge, before any is sent, and so is one with a key of this package (ErrReserved). Any other error is one of a try: the broker may have the messages that it has not
// confirmed. The error is a [*PublishError], which says how many it has confirmed, but for ErrClosed and ErrIllegalTopic. The publisher has a method
// MaxBytes(topic string) int: the most bytes of a message, 0 if that is unknown.
func (b *Broker) Publisher() message.Publisher {
	if p, ok := b.backend.(prompt); ok {
		return promptPublisher{publisher{b}, p}
	}
	if p, ok := b.backend.(packing); ok {
		return packingPublisher{publisher{b}, p}
	}
	return publisher{b}
}

// Subscriber gives every subscription every message that is published after
// Subscribe has returned, one unacked message at a time, in order of publication. A subscription lives
// until its ctx ends, or the broker is closed; a restart of the broker it
// survives. Its channel is closed if it cannot go on. Its Close does nothing.
//
// What is published without a subscription is lost. What is published during
// an interruption of the connection arrives afterwards on all backends but NATS core.
// A nacked message comes again (on NATS core and JetStream it does not).
func (b *Broker) Subscriber() message.Subscriber { return subscriber{b: b} }

// Queue gives each message to one subscription of the group, wherever they are;
// it comes again, there or elsewhere, if it is nacked, not acked within Options.AckWait,
// or its consumer dies. A subscription has one unacked message at a time. The group
// exists from its first Subscribe on, and keeps what is published without a
// subscription, for as long as Guarantees say. Order holds as long as there is one
// subscription and no redelivery. Groups are named like topics. Close of the subscriber does nothing.
//
// What is returned is a message.Publisher as well: what is published by it goes into the queue of this group alone, and stays there though
// the group does not exist yet. A queue that may hold no more (see Options.MaxMessages) refuses, with ErrQueueFull.
//
// It is fleet.Options.Queue for durable commands, where Guarantees().Durable.
//
// On NATS core and in one process nothing is kept and nothing comes again.
// The error wraps ErrNoQueue (memory and gochannel) or ErrIllegalTopic.
func (b *Broker) Queue(group string) (message.Subscriber, error) {
	if !b.backend.guarantees().Queues {
		return nil, fmt.Errorf("%w on %s", ErrNoQueue, b.backend.guarantees().Name)
	}
	if err := b.backend.naming().check(group); err != nil {
		return nil, fmt.Errorf("group: %w", err)
	}
	return queue{b: b, group: group}, nil
}

// Topic returns a name that the broker takes, short and different for every
// name: the name itself wherever it can be, else what can be read of it with a
// hash.
func (b *Broker) Topic(name string) string { return b.backend.naming().topic(name) }

// Guarantees says what the backend promises.
func (b *Broker) Guarantees() Guarantees { return b.backend.guarantees() }

// Join is [pairing.Join] over this broker: the channel by which self talks to
// peer. Names may be any. JoinOptions.Topic is filled in, and Prefix is part of it; so are Keys, if Options has some.
//
// A connection that breaks on a backend that keeps nothing meanwhile (NATS core)
// ends the link: what either side has said in between is lost, and what they know of each
// other may be stale. Elsewhere the link survives.
func (b *Broker) Join(self, peer string, opts ...pairing.JoinOptions) *bus.Channel {
	if len(opts) == 0 {
		opts = []pairing.JoinOptions{{}}
	}
	opts = append([]pairing.JoinOptions(nil), opts...)
	if opts[0].Keys == nil {
		opts[0].Keys = b.opts.Keys
	}
	if o := &opts[0]; o.Topic == nil {
		prefix := o.Prefix
		if prefix == "" {
			prefix = "pair"
		}
		o.Topic = func(sender, receiver string) string {
			return b.Topic(part(prefix) + "." + part(sender) + "." + part(receiver))
		}
	}
	return pairing.Join(b.Publisher(), subscriber{b: b, lossless: true}, self, peer, opts...)
}

// Stats returns the counters.
func (b *Broker) Stats() Stats {
	return Stats{
		Subscriptions: int(b.subscriptions.Load()),
		Skipped:       b.skipped.Load(),
		Republished:   b.republished.Load(),
		Probes:        b.probes.Load(),
		Gaps:          b.gaps.Load(),
		Lost:          b.lost.Load(),
		Trimmed:       b.trimmed.Load(),
	}
}

// Close ends all subscriptions, waits for them and for Publish calls that are
// under way, and disconnects. It waits at most twice Options.CloseTimeout, and says so if
// that was not enough. Idempotent: every call returns the same error.
func (b *Broker) Close() error {
	b.mu.Lock()
	first := !b.closed
	if first {
		b.closed = true
		close(b.closing)
		if b.running == 0 {
			close(b.idle)
		}
	}
	b.mu.Unlock()
	if !first {
		<-b.done
		return b.err
	}
	defer close(b.done)
	var errs []error
	if !b.within(b.idle) {
		errs = append(errs, fmt.Errorf("subscriptions or publishers did not end within %s", b.opts.CloseTimeout))
	}
	closed := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		closed <- b.secrets.error(b.backend.close())
	}()
	if b.within(ended) {
		errs = append(errs, <-closed)
	} else {
		errs = append(errs, fmt.Errorf("%s did not disconnect within %s", b.backend.guarantees().Name, b.opts.CloseTimeout))
	}
	if b.err = errors.Join(errs...); b.err != nil {
		b.err = fmt.Errorf("close broker: %w", b.err)
	}
	return b.err
}

func (b *Broker) within(ended <-chan struct{}) bool {
	timer := time.NewTimer(b.opts.CloseTimeout)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		return false
	}
}

// enter counts in what Close has to wait for.
func (b *Broker) enter() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrClosed
	}
	b.running++
	return nil
}

func (b *Broker) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running--; b.closed && b.running == 0 {
		close(b.idle)
	}
}

// gapped is closed when messages may have been lost after the call.
func (b *Broker) gapped() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gap
}

// noteGap tells the subscriptions that end then.
func (b *Broker) noteGap(why string) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	close(b.gap)
	b.gap = make(chan struct{})
	b.mu.Unlock()
	b.gaps.Add(1)
	b.log.Warn("messages may have been lost", "broker", b.backend.guarantees().Name, "reason", b.secrets.hide(why))
}

// skip counts a message that is none of ours, and logs the first, the second,
// the fourth and so on.
func (b *Broker) skip(topic, why string) {
	if n := b.skipped.Add(1); n&(n-1) == 0 {
		b.log.Warn("message skipped", "topic", topic, "skipped", n, "reason", why)
	}
}

// subscriber is the Broker as one.
type subscriber struct {
	b        *Broker
	lossless bool
}

func (s subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	return s.b.subscribeChan(&subscription{topic: topic, user: ctx, lossless: s.lossless})
}

// SubscribeFunc implements bus.FuncSubscriber, for links.
func (s subscriber) SubscribeFunc(ctx context.Context, topic string, fn func(*message.Message)) (ended <-chan struct{}, err error) {
	return s.SubscribeCalling(ctx, topic, fn)
}

// SubscribeCalling is the same for fleets: fn takes a message that is acked already.
func (s subscriber) SubscribeCalling(ctx context.Context, topic string, fn func(*message.Message)) (ended <-chan struct{}, err error) {
	sub := &subscription{topic: topic, user: ctx, lossless: s.lossless, fn: fn}
	if c, ok := s.b.backend.(calling); ok {
		return s.b.subscribeFunc(c, sub)
	}
	return s.b.subscribe(sub)
}

// Close does nothing: the Broker is its owner's.
func (subscriber) Close() error { return nil }

// queue is a group of the Broker as a subscriber.
type queue struct {
	b     *Broker
	group string
}

func (q queue) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	return q.b.subscribeChan(&subscription{topic: topic, user: ctx, group: q.group})
}

// Publish implements message.Publisher, for who wants a message to be in this queue, be the group there already or not, and in no other
// one. Where the broker has no such queues it is Broker.Publisher's.
func (q queue) Publish(topic string, messages ...*message.Message) error {
	send := q.b.backend.Publish
	if to, ok := q.b.backend.(queuer); ok {
		send = func(topic string, messages ...*message.Message) error { return to.publishTo(q.group, topic, messages) }
	}
	return publisher{q.b}.publish(topic, messages, send)
}

// Close does nothing: the Broker is its owner's.
func (queue) Close() error { return nil }
