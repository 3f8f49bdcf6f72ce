package chaostest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
)

// ErrClosed is returned by Publish and Flush after Close.
var ErrClosed = errors.New("chaostest: closed")

// Publisher is a publisher with chaos in front of it. Make one with
// [WrapPublisher], or as part of a [PubSub]. All methods may be called from
// any goroutine at any time.
type Publisher struct {
	inner     message.Publisher
	opts      Options
	cut       atomic.Pointer[cut] // nil while the line is whole
	releasing sync.WaitGroup      // the lanes' goroutines; Add under a lane's mu, not after it was closed

	once     sync.Once
	closeErr error // of inner.Close; written within once

	mu     sync.Mutex
	lanes  map[string]*lane // guarded by mu
	closed bool             // guarded by mu
}

// PubSub is a [Publisher] and the subscriber that belongs to it, so that it
// can stand in for the Pub/Sub that it wraps.
type PubSub struct {
	*Publisher
	subscriber message.Subscriber
}

var (
	_ message.Publisher  = (*PubSub)(nil)
	_ message.Subscriber = (*PubSub)(nil)
)

// Wrap returns ps with chaos on what is published. It takes ps over: Close
// closes it. It panics on a probability outside 0 to 1 and on a negative bound.
func Wrap(ps interface {
	message.Publisher
	message.Subscriber
}, opts Options) *PubSub {
	return &PubSub{WrapPublisher(ps, opts), ps}
}

// WrapPublisher is [Wrap] for a publisher alone, as one process of several has.
func WrapPublisher(pub message.Publisher, opts Options) *Publisher {
	return &Publisher{inner: pub, opts: opts.withDefaults(), lanes: make(map[string]*lane)}
}

// Subscribe subscribes at the wrapped Pub/Sub, and nothing else.
func (p *PubSub) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	return p.subscriber.Subscribe(ctx, topic)
}

// cut is a line that is not whole.
type cut struct {
	topics func(string) bool // nil: all
	hold   bool
}

// line is the state of a topic.
type line int

const (
	whole line = iota
	losing
	holding
)

// line says whether the topic is cut. It calls user code: no lock is held.
func (p *Publisher) line(topic string) line {
	c := p.cut.Load()
	switch {
	case c == nil || c.topics != nil && !c.topics(topic):
		return whole
	case c.hold:
		return holding
	}
	return losing
}

// Cut loses every message of the topics for which topics returns true, until
// [Publisher.Heal]: those that are published from now on, and those that are
// held and fall due meanwhile. Publish returns nil for them; they are counted
// as Stats.Lost. It takes the place of an earlier Cut or Hold.
//
// topics is called for every message, from any goroutine, and must not block.
// Nil means all topics.
func (p *Publisher) Cut(topics func(topic string) bool) { p.setCut(&cut{topics: topics}) }

// Hold is [Publisher.Cut] that loses nothing: messages are held, at most
// Options.MaxHeld a topic, and handed on in their order by Heal. Close loses them.
func (p *Publisher) Hold(topics func(topic string) bool) { p.setCut(&cut{topics: topics, hold: true}) }

// Heal ends Cut and Hold. It does not wait until what was held has been handed
// on; [Publisher.Flush] does.
func (p *Publisher) Heal() { p.setCut(nil) }

func (p *Publisher) setCut(c *cut) {
	p.cut.Store(c)
	for _, l := range p.all() {
		l.lookAgain()
	}
}

// Publish decides about each message, in order, and hands on to the wrapped
// publisher what arrives at once, on the caller's goroutine. The rest is held,
// and handed on by the Publish that overtakes it or by a goroutine, one a topic
// while something is held.
//
// What is handed on are copies, with the message's context; those that are held
// do not mind when it is cancelled. The payload is shared and must not be
// changed.
//
// Publish returns the wrapped publisher's error for a copy that went at once,
// and leaves out the messages behind it; one that is held and then fails is counted only. It
// waits at Options.MaxHeld, until there is room, the message's context is done
// or Close. After Close it returns [ErrClosed].
func (p *Publisher) Publish(topic string, msgs ...*message.Message) error {
	l, err := p.lane(topic)
	if err != nil {
		return err
	}
	for _, m := range msgs {
		if err := l.publish(m); err != nil {
			return err
		}
	}
	return nil
}

// lane returns the topic's lane, made if need be.
func (p *Publisher) lane(topic string) (*lane, error) {
	l, err := p.known(topic, nil)
	if l == nil && err == nil {
		calm := p.opts.Topics != nil && !p.opts.Topics(topic)
		l, err = p.known(topic, newLane(p, topic, calm))
	}
	return l, err
}

// known returns the topic's lane, which is fresh if there was none.
func (p *Publisher) known(topic string, fresh *lane) (*lane, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	if l := p.lanes[topic]; l != nil {
		return l, nil
	}
	if fresh != nil {
		p.lanes[topic] = fresh
	}
	return fresh, nil
}

func (p *Publisher) all() []*lane {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.lanes))
}

// Flush hands on what is held, without waiting for its time, and returns when
// nothing is held any more, but for what [Publisher.Hold] holds. It returns
// ctx's error when that is done first, and [ErrClosed] on Close.
func (p *Publisher) Flush(ctx context.Context) error {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return ErrClosed
	}
	for _, l := range p.all() {
		if err := l.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Stats returns what was done so far, on all topics.
func (p *Publisher) Stats() Stats {
	var s Stats
	for _, l := range p.all() {
		s.add(l.stats())
	}
	return s
}

// Close hands on what is held, or drops and counts it as Stats.Lost where
// Options.DropOnClose or a cut says so; it closes the wrapped publisher, and
// returns its error. No goroutine is left then. It waits for the publishes
// that this takes: with Options.DropOnClose the wrapped publisher is closed before the wait,
// which ends those that hang. A second Close returns what the first one did.
func (p *Publisher) Close() error {
	p.once.Do(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		for _, l := range p.all() {
			l.close()
		}
		if !p.opts.DropOnClose {
			p.releasing.Wait()
		}
		p.closeErr = p.inner.Close()
		p.releasing.Wait()
	})
	return p.closeErr
}
