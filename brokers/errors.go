package brokers

import "errors"

var (
	// ErrClosed is returned by everything after Broker.Close.
	ErrClosed = errors.New("broker closed")
	// ErrIllegalTopic says that the broker does not take a topic's name as it is.
	ErrIllegalTopic = errors.New("illegal topic")
	// ErrNoQueue says that a backend has no shared queues.
	ErrNoQueue = errors.New("no queues")
	// ErrNotLive says that a subscription did not prove to be live within
	// Options.SubscribeTimeout.
	ErrNotLive = errors.New("subscription not live")
)
