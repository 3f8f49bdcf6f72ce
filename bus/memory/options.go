package memory

import (
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/internal/logging"
)

// Defaults of [Options].
const (
	DefaultMaxUnacked      = 1
	DefaultQueueSize       = 1024
	DefaultMaxRedeliveries = 10
	DefaultInitialBackoff  = 100 * time.Millisecond
	DefaultMaxBackoff      = 10 * time.Second
)

// Overflow says what Publish does when a subscription's queue is full.
type Overflow int

const (
	// Block makes Publish wait for room: until the queue has drained, the
	// subscription has ended, the message's own context is done, or Close.
	//
	// A subscriber that publishes more than one message for each that it gets,
	// to a topic that leads back to it, fills all queues on that way and then
	// waits for itself for ever, as such a circle of Go channels does. After
	// 10 s it is logged that a publisher waits. Use Fail, a ctx with a
	// deadline, or a goroutine of its own for what is published.
	Block Overflow = iota

	// Fail makes Publish return [ErrFull] at once.
	Fail
)

// Options configure a [PubSub]. The zero value works. Negative sizes and
// durations make [New] panic.
type Options struct {
	// MaxUnacked bounds the messages of one subscription that are out:
	// delivered and neither acked, dead-lettered nor dropped. At 1 order is
	// strict, also under redelivery, as Watermill's Subscriber promises. More
	// is faster, because acks are then noticed many at a time, but a nacked
	// message comes again behind those that were out with it. Default 1; more than 1,048,576 is that.
	MaxUnacked int

	// QueueSize bounds the messages of one subscription that wait behind
	// those that are out. The queue grows as needed, up to this. Default
	// 1,024: a burst fits, and a stuck subscriber is noticed. More than 1<<30 is that.
	QueueSize int

	// WhenFull says what Publish does at a full queue. Default Block.
	WhenFull Overflow

	// MaxRedeliveries bounds how often one nacked message is delivered again.
	// Negative: never. Default 10, which at the default backoff is about 43
	// seconds.
	MaxRedeliveries int

	// InitialBackoff is the pause before the first redelivery of a message;
	// each further pause is twice as long, up to MaxBackoff. Defaults 100 ms
	// and 10 s. A MaxBackoff below InitialBackoff is raised to it.
	InitialBackoff, MaxBackoff time.Duration

	// DeadLetterTopic is where a message goes when its redeliveries are used
	// up, with the Metadata keys of this package added. If the topic is full,
	// WhenFull applies; a message that fails on DeadLetterTopic itself is
	// dropped. Default: none, such messages are dropped.
	DeadLetterTopic string

	// PreserveContext delivers each message with the context that it was
	// published with. Otherwise a delivered message's context derives from
	// the one given to Subscribe and is cancelled when the message is acked or
	// nacked, or the subscription ends. Default false.
	PreserveContext bool

	// HandOver gives the published *message.Message itself to the subscriber
	// when the topic has exactly one, without any copy. The publisher then
	// promises never to touch a message again once it is published (see
	// [PublishError] for one that is not), and not to publish one that it
	// received and has not acked; the subscriber promises not to touch one that it has
	// nacked, and finds its own changes in it when it comes again. A message
	// that is already acked or nacked, or was not made by
	// message.NewMessage, is copied all the same. Default false.
	HandOver bool

	// OnUnrouted, if set, is given a copy of each message published to a topic
	// that has no subscription. It runs on the publisher's goroutine.
	OnUnrouted func(topic string, msg *message.Message)

	// OnDropped, if set, is told of each message that is given up: its
	// redeliveries are used up, and it has no dead-letter topic or err says why
	// that did not take it. It runs on the subscription's goroutine: the
	// subscription waits meanwhile, and calling Close from it deadlocks.
	OnDropped func(topic string, msg *message.Message, err error)

	// Logger receives what a hook would, and what subscriptions leave behind.
	// Default: nothing is logged.
	Logger *slog.Logger
}

// withDefaults returns o with each zero field replaced by its default.
func (o Options) withDefaults() Options {
	o.MaxUnacked = sizeOr("MaxUnacked", min(o.MaxUnacked, mostUnacked), DefaultMaxUnacked)
	o.QueueSize = sizeOr("QueueSize", min(o.QueueSize, mostQueued), DefaultQueueSize)
	o.InitialBackoff = sizeOr("InitialBackoff", o.InitialBackoff, DefaultInitialBackoff)
	o.MaxBackoff = max(sizeOr("MaxBackoff", o.MaxBackoff, DefaultMaxBackoff), o.InitialBackoff)
	switch {
	case o.MaxRedeliveries == 0:
		o.MaxRedeliveries = DefaultMaxRedeliveries
	case o.MaxRedeliveries < 0:
		o.MaxRedeliveries = 0
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = logging.Guard(o.Logger)
	return o
}

// What larger sizes mean: a subscription has a channel for MaxUnacked messages, and the sum of both must not overflow.
const (
	mostUnacked = 1 << 20
	mostQueued  = 1 << 30
)

func sizeOr[T int | time.Duration](field string, value, byDefault T) T {
	if value < 0 {
		panic("memory: negative Options." + field)
	}
	if value == 0 {
		return byDefault
	}
	return value
}
