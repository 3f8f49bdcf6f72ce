package memory

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed is returned by everything but Close and Stats after Close.
	ErrClosed = errors.New("memory: closed")

	// ErrFull is returned by Publish under [Fail] when a subscription of the
	// topic has no room. No subscription got any message of that call.
	ErrFull = errors.New("memory: queue full")
)

// PublishError says how far a Publish came. The first Published messages of
// the call are published, the rest are not and still the caller's.
type PublishError struct {
	Topic     string
	Published int
	Err       error // ErrFull, ErrClosed, or the error of the next message's context
}

func (e *PublishError) Error() string {
	return fmt.Sprintf("memory: publish to %q stopped after %d messages: %v", e.Topic, e.Published, e.Err)
}

// Unwrap returns the reason.
func (e *PublishError) Unwrap() error { return e.Err }

// DrainError says what was left when the context of [PubSub.Drain] ended.
type DrainError struct {
	Queued  int   // messages waiting in queues
	Unacked int   // messages delivered, or waiting for redelivery, and not acked
	Err     error // the context's error
}

func (e *DrainError) Error() string {
	return fmt.Sprintf("memory: drain: %d queued and %d unacked messages left: %v", e.Queued, e.Unacked, e.Err)
}

// Unwrap returns the context's error.
func (e *DrainError) Unwrap() error { return e.Err }
