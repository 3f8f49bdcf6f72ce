package brokers

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
)

// subscription stands between an adapter and a subscriber: it proves that the
// one is live, and keeps from the other what is not for it. It has one
// goroutine, relay, and passes on the adapter's own messages, so that their acks
// are the adapter's.
type subscription struct {
	broker   *Broker
	topic    string
	group    string
	lossless bool // it ends where messages may have been lost

	src    *source
	out    chan *message.Message  // where messages go
	fn     func(*message.Message) // or who takes them, once they are acked
	ended  chan struct{}          // closed when fn will not be called any more
	ctx    context.Context        // of the adapter's subscription
	cancel context.CancelFunc
	user   context.Context // the subscriber's

	// Of the relay's goroutine alone: the last message of a group that was handed over, and its context's end.
	last     *message.Message
	lastDone <-chan struct{}
	untaken  *message.Message // came, and nobody took it
}

// admit lets a subscription begin. It is counted in then.
func (b *Broker) admit(s *subscription) error {
	if err := b.backend.naming().check(s.topic); err != nil {
		return err
	}
	if err := s.user.Err(); err != nil {
		return err
	}
	s.broker, s.ended = b, make(chan struct{})
	return b.enter()
}

// failed counts out a subscription that did not begin, and says why.
func (s *subscription) failed(err error) error {
	s.broker.leave()
	return fmt.Errorf("subscribe to %q: %w", s.topic, s.broker.secrets.error(err))
}

// run starts the goroutine of a subscription that has begun; it is counted out when that ends.
func (s *subscription) run(fn func()) {
	b := s.broker
	b.subscriptions.Add(1)
	go func() {
		defer b.leave()
		defer b.subscriptions.Add(-1)
		fn()
	}()
}

// subscribeChan is subscribe for who reads a channel.
func (b *Broker) subscribeChan(s *subscription) (<-chan *message.Message, error) {
	s.out = make(chan *message.Message)
	if _, err := b.subscribe(s); err != nil {
		return nil, err
	}
	return s.out, nil
}

// subscribeFunc is subscribe where the backend calls. It has one goroutine, which waits for the end. Until it has begun,
// fn is not called: that may wait for what comes after.
func (b *Broker) subscribeFunc(c calling, s *subscription) (ended <-chan struct{}, err error) {
	if err := b.admit(s); err != nil {
		return nil, err
	}
	var gap <-chan struct{}
	if s.lossless {
		gap = b.gapped() // from here on
	}
	s.src = &source{}
	came, decided, begun := make(chan struct{}, 1), make(chan struct{}), false
	stop, ended, err := c.subscribeFunc(s.topic, func(m *message.Message) {
		select {
		case came <- struct{}{}:
		default:
		}
		if s.ours(m) {
			return
		}
		if <-decided; begun {
			s.fn(m)
		}
	})
	subscribed := err == nil
	if subscribed {
		err = s.proveFunc(came, ended)
	}
	begun = err == nil
	close(decided)
	if subscribed && err != nil {
		stop()
		<-ended
	}
	if err != nil {
		return nil, s.failed(err)
	}
	s.run(func() {
		select {
		case <-s.user.Done():
		case <-gap:
		case <-ended:
		case <-b.closing:
		}
		stop()
		<-ended
	})
	return ended, nil
}

// proveFunc waits until the first message proves that a subscription whose backend calls has worked.
func (s *subscription) proveFunc(came, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(s.user, s.broker.opts.SubscribeTimeout)
	defer cancel()
	if err := s.broker.backend.flush(ctx); err != nil {
		return err
	}
	_, _, err := prove(ctx, s, came, ended)
	return err
}

// subscribe returns once the subscription is live. ended is closed when nothing is handed over any more.
func (b *Broker) subscribe(s *subscription) (ended <-chan struct{}, err error) {
	if err := b.admit(s); err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(s.user))
	gap := b.gapped() // from here on
	first, err := s.start()
	if err != nil {
		if s.src != nil {
			s.end()
		}
		s.cancel()
		return nil, s.failed(err)
	}
	s.run(func() { s.relay(first, gap) })
	return s.ended, nil
}

// start begins, and waits until the first message proves that it has worked. That
// message is returned if it is the subscriber's.
func (s *subscription) start() (first *message.Message, err error) {
	b := s.broker
	ctx, cancel := context.WithTimeout(s.user, b.opts.SubscribeTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, s.cancel)
	src, err := b.backend.subscribe(s.ctx, s.topic, s.group, s.fn != nil)
	for tries := 1; err != nil && tries < subscribeTries && b.backend.transient(err) && s.pause(ctx); tries++ {
		src, err = b.backend.subscribe(s.ctx, s.topic, s.group, s.fn != nil)
	}
	if err != nil {
		return nil, err
	}
	s.src = src
	if err := b.backend.flush(ctx); err != nil {
		return nil, err
	}
	if src.probe {
		first, err = s.first(ctx)
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	return first, err
}

// subscribeTries is how often a subscription is tried: a pool's connections that have broken meanwhile are noticed by
// those who are given them.
const subscribeTries = 3

// pause waits before another try. False if there is to be none.
func (s *subscription) pause(ctx context.Context) bool {
	timer := time.NewTimer(probePause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.broker.closing:
	case <-ctx.Done():
	}
	return false
}

// Pauses between probes, of which the first is doubled each time.
const (
	probePause    = 50 * time.Millisecond
	maxProbePause = time.Second
)

// first publishes probes until something comes, and returns that if it is the subscriber's.
func (s *subscription) first(ctx context.Context) (*message.Message, error) {
	m, ok, err := prove(ctx, s, s.src.messages, s.src.ended)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, cmp.Or(s.user.Err(), fmt.Errorf("%w: it ended", ErrNotLive))
	}
	s.received()
	if s.ours(m) {
		return nil, nil
	}
	return m, nil
}

// prove publishes probes until something comes, be it the probe or not. False if came is closed.
func prove[T any](ctx context.Context, s *subscription, came <-chan T, ended <-chan struct{}) (first T, ok bool, err error) {
	id, pause, sent := uuid.NewString(), probePause, error(nil)
	for {
		probe := message.NewMessage(uuid.NewString(), nil)
		probe.Metadata.Set(keyProbe, id)
		sent = s.broker.backend.Publish(s.topic, probe)
		s.broker.probes.Add(1)
		timer := time.NewTimer(pause)
		select {
		case first, ok = <-came:
			timer.Stop()
			return first, ok, nil
		case <-timer.C:
			pause = min(2*pause, maxProbePause)
		case <-ended:
			timer.Stop()
			return first, false, fmt.Errorf("%w: it ended", ErrNotLive)
		case <-s.broker.closing:
			timer.Stop()
			return first, false, ErrClosed
		case <-ctx.Done():
			timer.Stop()
			switch {
			case s.user.Err() != nil:
				err = s.user.Err()
			case sent != nil:
				err = fmt.Errorf("%w: publish a probe: %w", ErrNotLive, sent)
			default:
				err = fmt.Errorf("%w: no probe has come back within %s", ErrNotLive, s.broker.opts.SubscribeTimeout)
			}
			return first, false, err
		}
	}
}

func (s *subscription) received() {
	if s.src.gate != nil {
		s.src.gate.received()
	}
}

// ours takes a message that is not for the subscriber, and reports whether it
// was one.
func (s *subscription) ours(m *message.Message) bool {
	if why, skip := m.Metadata[keySkip]; skip {
		s.broker.skip(s.topic, why)
		m.Ack()
		return true
	}
	if _, probe := m.Metadata[keyProbe]; probe {
		m.Ack()
		return true
	}
	return false
}

// relay hands on what comes until the subscriber's ctx, the broker or the
// adapter ends.
func (s *subscription) relay(first *message.Message, gap <-chan struct{}) {
	if s.out != nil {
		defer close(s.out)
	}
	defer s.end()
	defer close(s.ended)
	if !s.lossless {
		gap = nil
	}
	if first != nil && !s.deliver(first, gap) {
		return
	}
	for {
		select {
		case m, ok := <-s.src.messages:
			if !ok {
				return
			}
			s.received()
			if !s.ours(m) && !s.deliver(m, gap) {
				return
			}
		case <-s.user.Done():
			return
		case <-gap:
			return
		case <-s.src.ended:
			return
		case <-s.broker.closing:
			return
		}
	}
}

func (s *subscription) deliver(m *message.Message, gap <-chan struct{}) bool {
	if s.fn != nil {
		m.Ack()
		s.fn(m)
		return true
	}
	done := m.Context().Done() // the subscriber may change the context
	select {
	case s.out <- m:
		if s.group != "" {
			s.last, s.lastDone = m, done
		}
		return true
	case <-s.user.Done():
	case <-gap:
	case <-s.src.ended:
	case <-s.broker.closing:
	}
	s.untaken = m
	return false
}

// end stops the adapter, and takes what it still has: it may be at sending, or
// wait for an ack.
func (s *subscription) end() {
	var empty <-chan struct{}
	if s.src.gate != nil {
		empty = s.src.gate.close()
	}
	if s.src.leaving != nil {
		s.src.leaving()
	}
	if s.untaken != nil {
		s.untaken.Nack()
	}
	s.settle()
	if empty != nil {
		s.drain(empty)
	}
	s.cancel()
	var closing sync.WaitGroup
	if s.src.close != nil {
		closing.Go(func() {
			if err := s.src.close(); err != nil {
				s.broker.log.Debug("subscription closed with an error", "topic", s.topic, "error", s.broker.secrets.error(err))
			}
		})
	}
	s.drain(nil)
	closing.Wait()
}

// settleTime bounds settle.
const settleTime = time.Second

// settle gives back the message of a group that is out. One that was acked just now it lets
// the adapter finish with: cut short, it would come again.
func (s *subscription) settle() {
	if s.last == nil || s.last.Nack() {
		return
	}
	timer := time.NewTimer(settleTime)
	defer timer.Stop()
	if s.finished(s.lastDone, timer.C) && s.src.settled != nil {
		s.finished(s.src.settled(), timer.C)
	}
}

// finished waits for done, and reports whether that has come. A further
// message says as well that the adapter is through with the last one.
func (s *subscription) finished(done <-chan struct{}, timeout <-chan time.Time) bool {
	select {
	case <-done:
		return true
	case m, ok := <-s.src.messages:
		if ok {
			s.received()
			m.Nack()
		}
	case <-timeout:
	}
	return false
}

// drain gives back what comes, until the adapter has ended or until is closed.
func (s *subscription) drain(until <-chan struct{}) {
	for {
		select {
		case m, ok := <-s.src.messages:
			if !ok {
				return
			}
			s.received()
			m.Nack()
		case <-until:
			return
		}
	}
}
