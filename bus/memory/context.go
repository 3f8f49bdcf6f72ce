package memory

import (
	"context"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// messageContext is the context of one delivered message. It is done when the
// message is acked or nacked, or the subscription's context is done.
//
// It is part of its delivery, so it costs nothing until Done is called:
// only then is a standard context made, which children attach to without a
// goroutine. Err and Done look at the message themselves, so what they say is
// never out of date; a goroutine that already waits on Done is woken when the
// subscription notices the ack (see pump.go).
type messageContext struct {
	parent context.Context // the subscription's

	mu     sync.Mutex // guards what follows; taken last, after topic.mu
	msg    *message.Message
	live   context.Context // made by the first Done, nil before
	cancel context.CancelFunc
	err    error // what Err returns from now on
}

func (c *messageContext) Deadline() (time.Time, bool) { return c.parent.Deadline() }

// Value asks the live context if there is one: that is how package context
// finds that it can attach a child to it.
func (c *messageContext) Value(key any) any {
	c.mu.Lock()
	ctx := c.live
	c.mu.Unlock()
	if ctx == nil {
		ctx = c.parent
	}
	return ctx.Value(key)
}

func (c *messageContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == nil {
		c.live, c.cancel = context.WithCancel(c.parent)
		if c.check() != nil {
			c.cancel()
		}
	}
	return c.live.Done()
}

func (c *messageContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.check()
}

// check returns the context's error as of now. The caller holds c.mu.
func (c *messageContext) check() error {
	if c.err == nil {
		if c.msg != nil && verdictOf(c.msg) != undecided {
			c.end(context.Canceled)
		} else if err := c.parent.Err(); err != nil {
			c.end(err)
		}
	}
	return c.err
}

// settle ends the context, if it is in use, because its message is acked or
// nacked.
func (c *messageContext) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.parent != nil && c.check() == nil {
		c.end(context.Canceled)
	}
}

// end records err, wakes what waits on Done, and lets go of the message,
// because a context may be kept for long. The caller holds c.mu.
func (c *messageContext) end(err error) {
	c.err, c.msg = err, nil
	if c.cancel != nil {
		c.cancel()
	}
}
