package brokers

import (
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// publisher is the Broker as one.
type publisher struct{ b *Broker }

func (p publisher) Publish(topic string, messages ...*message.Message) error {
	return p.publish(topic, messages, p.b.backend.Publish)
}

func (p publisher) publish(topic string, messages []*message.Message, send sending) error {
	if len(messages) == 0 {
		return p.b.backend.naming().check(topic)
	}
	if err := p.enter(topic); err != nil {
		return err
	}
	defer p.b.leave()
	if err := reserved(messages); err != nil {
		return p.b.publishError(topic, messages, 0, err)
	}
	return p.b.publish(topic, messages, send)
}

// MaxBytes returns the most bytes that a message to the topic may have: payload, UUID and
// metadata as they are encoded for the broker. 0 is unknown, or no limit. It does not block. It may change
// with a reconnect, and with what the broker has refused.
func (p publisher) MaxBytes(topic string) int { return p.b.maxBytes(topic) }

// enter counts a call in that publishes to a topic, if it is legal.
func (p publisher) enter(topic string) error {
	if err := p.b.backend.naming().check(topic); err != nil {
		return err
	}
	return p.b.enter()
}

// Close does nothing: the Broker is its owner's.
func (publisher) Close() error { return nil }

// Pauses between two tries to publish, of which the first is doubled each time.
const (
	publishPause    = 20 * time.Millisecond
	maxPublishPause = 500 * time.Millisecond
)

// sending is a backend's Publish.
type sending func(topic string, messages ...*message.Message) error

// publish publishes, and tries again, for PublishRetry, what the broker has not confirmed.
func (b *Broker) publish(topic string, messages []*message.Message, send sending) error {
	done, err := send.once(topic, messages, 0)
	if err == nil || !b.mayPass(err) {
		return b.publishError(topic, messages, done, err)
	}
	giveUp := time.Now().Add(b.opts.PublishRetry)
	for pause := publishPause; time.Now().Add(pause).Before(giveUp); pause = min(2*pause, maxPublishPause) {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-b.closing:
			timer.Stop()
			return b.publishError(topic, messages, done, fmt.Errorf("%w: %w", ErrClosed, err))
		}
		b.republished.Add(1)
		b.log.Debug("publish again", "topic", topic, "published", done, "of", len(messages), "error", b.secrets.error(err))
		if done, err = send.once(topic, messages, done); err == nil || !b.mayPass(err) {
			break
		}
	}
	return b.publishError(topic, messages, done, err)
}

// mayPass reports whether what has failed is worth another try.
func (b *Broker) mayPass(err error) bool {
	return !errors.Is(err, ErrTooLarge) && b.backend.transient(err)
}

// once publishes the messages behind those that are done, and returns how many are done then.
func (send sending) once(topic string, messages []*message.Message, done int) (int, error) {
	err := send(topic, messages[done:]...)
	if part := new(partError); errors.As(err, &part) {
		done += part.done
	}
	return done, err
}

// publishError is what Publish returns for err, after so many messages were published.
func (b *Broker) publishError(topic string, messages []*message.Message, done int, err error) error {
	if err == nil {
		return nil
	}
	part := new(partError)
	if errors.As(err, &part) {
		err = part.err
	}
	return &PublishError{Topic: topic, Messages: len(messages), Published: done, Failed: done + part.behind, Err: b.secrets.error(err)}
}

// PublishError is the error of a Publish that the broker did not take, or not as a whole.
type PublishError struct {
	Topic     string
	Messages  int   // of the call
	Published int   // that the broker has, from the front: those need not be published again
	Failed    int   // index of the message that failed
	Err       error // of the one that failed; ErrTooLarge and ErrReserved: it never will be published, and none behind Published was sent
}

func (e *PublishError) Error() string {
	if e.Messages == 1 {
		return fmt.Sprintf("publish to %q: %v", e.Topic, e.Err)
	}
	return fmt.Sprintf("publish to %q: message %d of %d, after %d were published: %v", e.Topic, e.Failed+1, e.Messages, e.Published, e.Err)
}

func (e *PublishError) Unwrap() error { return e.Err }

// TooLargeError says that a message is larger than its broker takes. It is an ErrTooLarge. The message was not
// sent, and the connection is unharmed.
type TooLargeError struct {
	Size  int // bytes of payload, UUID and metadata, as they are encoded for the broker
	Limit int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%v: %d bytes, the limit is %d", ErrTooLarge, e.Size, e.Limit)
}

// Is makes it an ErrTooLarge, and a bus.ErrTooLarge.
func (e *TooLargeError) Is(target error) bool { return errors.Is(ErrTooLarge, target) }

// partError is a backend's error of a call that has published some messages.
type partError struct {
	done   int // from the front
	behind int // how far behind those is the one that failed
	err    error
}

func (e *partError) Error() string { return e.err.Error() }
func (e *partError) Unwrap() error { return e.err }

// full is err, of a message that found no room in a queue of the topic.
func full(err error, topic string) error {
	refused := fmt.Errorf("%w: %s", ErrQueueFull, topic)
	if part := new(partError); errors.As(err, &part) {
		return &partError{part.done, part.behind, refused}
	}
	return refused
}

// maxBytes returns the limit of the backend, or 0.
func (b *Broker) maxBytes(topic string) int {
	if l, ok := b.backend.(limited); ok {
		return l.maxBytes(topic)
	}
	return 0
}

// limited is a backend that knows what its broker takes.
type limited interface {
	// maxBytes returns the most bytes of a message to the topic, or 0. It does not block.
	maxBytes(topic string) int
}

// encoded is a message as a client takes it, and what it weighs with the broker.
type encoded[T any] struct {
	msg  T
	size int
}

// encodeAll encodes messages, and refuses one that is larger than limit, if that is not 0.
func encodeAll[T any](messages []*message.Message, limit int, encode func(*message.Message) (encoded[T], error)) ([]encoded[T], error) {
	all := make([]encoded[T], len(messages))
	for i, m := range messages {
		e, err := encode(m)
		if err == nil && limit > 0 && e.size > limit {
			err = &TooLargeError{Size: e.size, Limit: limit}
		}
		if err != nil {
			return nil, &partError{behind: i, err: err}
		}
		all[i] = e
	}
	return all, nil
}

// A window is what is on its way to the broker at a time, in one call of Publish, before it has confirmed any of it.
const (
	windowMessages = 256
	windowBytes    = 4 << 20
)

// inWindows calls send with the messages, one window after the other. send returns how many the broker has, from the front.
func inWindows[T any](all []encoded[T], send func([]T) (int, error)) error {
	window := make([]T, 0, min(len(all), windowMessages))
	for done := 0; done < len(all); done += len(window) {
		window = window[:0]
		bytes := 0
		for _, e := range all[done:] {
			if len(window) == windowMessages || len(window) > 0 && bytes+e.size > windowBytes {
				break
			}
			window = append(window, e.msg)
			bytes += e.size
		}
		if n, err := send(window); err != nil {
			return &partError{done: done + n, err: err}
		}
	}
	return nil
}

// packing is a backend on which a message costs so much that several go as one, where all subscribers are fan-out ones of this package.
type packing interface {
	publishPacked(topic string, messages ...*message.Message) error
}

// packingPublisher is one of such a backend; fleets look for it, for their events.
type packingPublisher struct {
	publisher
	packing packing
}

// PublishPacked is Publish to a topic that has no subscribers but those of Broker.Subscriber: what is published together may be one message
// to the broker.
func (p packingPublisher) PublishPacked(topic string, messages ...*message.Message) error {
	return p.publish(topic, messages, p.packing.publishPacked)
}

// prompt is a backend that can publish without waiting for anybody, unless it is busy.
type prompt interface {
	// publishAtOnce publishes, or returns errBusy where it could have to wait.
	publishAtOnce(topic string, messages []*message.Message) error
}

// promptPublisher is one whose backend can publish without waiting; fleets look for it.
type promptPublisher struct {
	publisher
	prompt prompt
}

// PublishAtOnce is Publish, or an error where that would have to wait.
func (p promptPublisher) PublishAtOnce(topic string, messages ...*message.Message) error {
	if err := p.enter(topic); err != nil {
		return err
	}
	defer p.b.leave()
	err := reserved(messages)
	if err == nil {
		err = p.prompt.publishAtOnce(topic, messages)
	}
	if err == errBusy {
		return err
	}
	return p.b.publishError(topic, messages, 0, err)
}

var errBusy = errors.New("publishing would have to wait")
