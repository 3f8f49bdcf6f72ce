package brokers

import (
	"errors"
	"fmt"

	"github.com/leatbus/leat/bus"
)

var (
	// ErrClosed is returned by everything after Broker.Close. It is a bus.ErrClosed.
	ErrClosed = fmt.Errorf("broker %w", bus.ErrClosed)
	// ErrUnknownScheme says that Open knows no broker by the scheme of the URL.
	ErrUnknownScheme = errors.New("unknown scheme")
	// ErrIllegalTopic says that the broker does not take a topic's name as it is.
	ErrIllegalTopic = errors.New("illegal topic")
	// ErrNoQueue says that a backend has no shared queues.
	ErrNoQueue = errors.New("no queues")
	// ErrQueueFull says that Options.MaxMessages wait in a queue: the message is in none. It is a bus.ErrFull.
	ErrQueueFull = fmt.Errorf("the queue has no room: %w", bus.ErrFull)
	// ErrNotLive says that a subscription did not prove to be live within
	// Options.SubscribeTimeout.
	ErrNotLive = errors.New("subscription not live")
	// ErrReserved says that a message has a metadata key by which this package knows its own: leat-probe or leat-skip.
	ErrReserved = errors.New("reserved metadata key")
	// ErrTooLarge says that a message is larger than the broker takes: see [TooLargeError]. It is a bus.ErrTooLarge.
	ErrTooLarge = fmt.Errorf("broker: %w", bus.ErrTooLarge)
)
