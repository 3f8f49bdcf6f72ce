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
	*bus.Delivery // values, depth included, and the deadline

	mu   sync.Mutex
	err  error  // guarded by mu: why it has ended; nil while it has not
	wait *waits // guarded by mu: nil until it is asked for
}

// waits is what waits for the end of a run's context. Its runContext guards it.
type waits struct {
	done  chan struct{}
	timer *time.Timer    // of the deadline
	after map[int]func() // what to run at the end
	next  int            // key for after
}

var closedChan = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Deadline is the caller's: zero when unknown.
func (c *runContext) Deadline() (time.Time, bool) {
	at := c.Envelope.Expires
	return at, !at.IsZero()
}

// late reports whether the deadline has passed.
func (c *runContext) late() bool {
	at, ok := c.Deadline()
	return ok && !time.Now().Before(at)
}

func (c *runContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.wait != nil:
		return c.wait.done
	case c.err != nil:
		return closedChan
	}
	return c.waits().done
}

// waits returns what waits, and starts the timer of the deadline the first time. c.mu is held, and the context has not ended.
func (c *runContext) waits() *waits {
	if c.wait == nil {
		c.wait = &waits{done: make(chan struct{})}
		if at, ok := c.Deadline(); ok {
			c.wait.timer = time.AfterFunc(time.Until(at), func() { c.end(context.DeadlineExceeded) })
		}
	}
	return c.wait
}

func (c *runContext) Err() error {
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	if err == nil && c.late() {
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
	w := c.waits()
	if w.after == nil {
		w.after = make(map[int]func())
	}
	key := w.next
	w.next++
	w.after[key] = f
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, waits := w.after[key]
		delete(w.after, key)
		return waits
	}
}

// end ends the context, unless it has ended before.
func (c *runContext) end(err error) {
	if c.late() {
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
	if c.wait == nil {
		c.mu.Unlock()
		return
	}
	if t := c.wait.timer; t != nil {
		t.Stop()
	}
	close(c.wait.done)
	after := c.wait.after
	c.wait.after = nil
	c.mu.Unlock()
	for _, f := range after {
		go f()
	}
}
