package commands

import (
	"context"
	"sync"
	"time"

	"github.com/leatbus/leat/bus"
)

// runContext is the context of a handler run. It ends when the caller's
// deadline passes, when the caller leaves, when the link closes, and when the
// run is over.
//
// Most handlers never ask whether it has ended. So the channel and the timer
// are made when they are first asked for, which saves context.WithDeadline's five
// allocations and a timer on every call.
type runContext struct {
	*bus.Delivery           // values, depth included
	deadline      time.Time // zero when unknown

	mu    sync.Mutex
	done  chan struct{}  // guarded by mu: nil until it is asked for
	timer *time.Timer    // guarded by mu: runs with done
	err   error          // guarded by mu: why it has ended; nil while it has not
	after map[int]func() // guarded by mu: what to run at the end
	next  int            // guarded by mu: key for after
}

var closedChan = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (c *runContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

func (c *runContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		c.arm()
	}
	return c.done
}

// arm starts the timer of the deadline, or ends what has ended. c.mu is held.
func (c *runContext) arm() {
	switch {
	case c.err != nil:
		c.done = closedChan
	case !c.deadline.IsZero() && c.timer == nil:
		c.timer = time.AfterFunc(time.Until(c.deadline), func() { c.end(context.DeadlineExceeded) })
	}
}

func (c *runContext) Err() error {
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	if err == nil && !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		c.end(context.DeadlineExceeded)
		return c.Err()
	}
	return err
}

// AfterFunc is how package context attaches children without a goroutine each.
func (c *runContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	if c.after == nil {
		c.after = make(map[int]func())
	}
	key := c.next
	c.next++
	c.after[key] = f
	if c.done == nil {
		c.done = make(chan struct{})
		c.arm()
	}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, waits := c.after[key]
		delete(c.after, key)
		return waits
	}
}

// end ends the context, unless it has ended before.
func (c *runContext) end(err error) {
	if !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		err = context.DeadlineExceeded // the caller has left because of it, and was faster to say so
	}
	c.finish(err)
}

// over ends it because the run has.
func (c *runContext) over() { c.finish(context.Canceled) }

func (c *runContext) finish(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.done != nil {
		close(c.done)
	}
	after := c.after
	c.after = nil
	c.mu.Unlock()
	for _, f := range after {
		go f()
	}
}
