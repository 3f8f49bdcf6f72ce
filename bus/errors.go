package bus

import (
	"errors"

	"github.com/leatbus/leat/internal/mac"
)

// Errors of the bus. Compare with [errors.Is]; what is returned wraps them and
// says more.
var (
	// ErrClosed: the bus, link or hub was closed by its owner.
	ErrClosed = errors.New("closed")
	// ErrPeerClosed: the peer closed its half of the link, or its transport ended.
	ErrPeerClosed = errors.New("closed by peer")
	// ErrDuplicateChannel: a channel with that ID is attached already.
	ErrDuplicateChannel = errors.New("channel ID is taken")
	// ErrInvalidChannel: the channel lacks something it needs, or was used before.
	ErrInvalidChannel = errors.New("invalid channel")
	// ErrInvalidKeys: a shared key is shorter than 16 bytes, or there are more than 8.
	ErrInvalidKeys = mac.ErrKeys
	// ErrFull: the outbound queue of the link has no room, or the queue of a broker.
	ErrFull = errors.New("outbound queue is full")
	// ErrTooLarge: a message exceeds Options.MaxMessageBytes, or a name in it MaxIDBytes, or it is more than the transport
	// takes: see SizedPublisher.
	ErrTooLarge = errors.New("message is too large")
	// ErrNotConnected: no link is attached under that channel ID.
	ErrNotConnected = errors.New("not connected")
)

// ReasonQueueFull is Fault.Reason of a durable request that found no room in the queue of its command. Its code is that of an internal error.
const ReasonQueueFull = "leat.queue_full"
