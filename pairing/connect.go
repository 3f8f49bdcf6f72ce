package pairing

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/leatbus/leat/bus"
)

// Registry is what a connection attaches channels to: *commands.Registry is one.
type Registry interface {
	RegisterChannel(ctx context.Context, ch *bus.Channel) (*bus.Link, error)
}

// Connection keeps a channel to one peer attached: see [Connect]. All methods
// are safe for concurrent use.
type Connection struct {
	registry Registry
	channel  func() (*bus.Channel, error)
	cancel   context.CancelCauseFunc
	done     chan struct{} // closed by run, after everything else

	mu      sync.Mutex
	link    *bus.Link       // guarded by mu: attached; nil between two
	news    chan struct{}   // guarded by mu: closed and replaced when link changes
	err     error           // guarded by mu: why the connection has ended
	stats   ConnectionStats // guarded by mu
	closing error           // guarded by mu: what closing the link said
}

// ConnectionStats counts what a connection has done.
type ConnectionStats struct {
	Attached  uint64 // channels that were attached
	Failed    uint64 // attempts that failed: no channel was made, or it was refused
	LastError error  // of the last attempt that failed, or why the last link ended; nil if neither has happened
}

// Connect attaches the channel that the function makes, and a fresh one each
// time the link has ended: because the peer said goodbye, restarted or was not heard
// of, because the transport broke off, or because the link was closed here.
// So a peer that comes back is an open link again, with its commands.
//
//	root := pairing.Connect(ctx, worker, func() (*bus.Channel, error) {
//		return pairing.Join(pub, sub, "worker", "root"), nil
//	})
//	defer root.Close()
//
// While the peer is away there is an open link all the same, which waits for
// it: what is sent is held until it comes, calls within their deadlines, which then end with
// commands.ErrTimeout. A command that is registered while the router is away is there at once in its own registry,
// and at the router when that comes.
//
// The first try is made at once, and so is one after a link that has lasted;
// after failures the pauses grow from 0.1 s to 5 s, at random between half of that and
// all. Connect does not wait for any of them: [Connection.Ready] does.
//
// The connection ends with Close, with ctx, when the registry is closed, or when the
// channel is one that no registry takes (bus.ErrInvalidChannel). Everything else is tried again;
// see [ConnectionStats.LastError]. A channel that could not be attached has its Close called. Calls of the function
// do not overlap; an error or a panic of it is a failed try. It must not call Close.
//
// It panics if registry or channel is nil.
func Connect(ctx context.Context, registry Registry, channel func() (*bus.Channel, error)) *Connection {
	if registry == nil || channel == nil {
		panic("pairing: Connect: nil registry or channel function")
	}
	c := &Connection{registry: registry, channel: channel, done: make(chan struct{}), news: make(chan struct{})}
	ctx, c.cancel = context.WithCancelCause(ctx)
	go c.run(ctx)
	return c
}

// Link returns the link that is attached now, nil if there is none. Whether
// its peer is there says its Ready.
func (c *Connection) Link() *bus.Link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link
}

// Ready waits until a link is open whose peer has answered. It returns
// ctx.Err(), or [Connection.Err] when the connection ends before.
func (c *Connection) Ready(ctx context.Context) error {
	for {
		c.mu.Lock()
		link, news := c.link, c.news
		c.mu.Unlock()
		var ready <-chan struct{}
		if link != nil && link.Context().Err() == nil {
			ready = link.Ready()
			select { // whatever ctx says
			case <-ready:
				return nil
			default:
			}
		}
		select {
		case <-ready:
			if link.Context().Err() == nil {
				return nil
			}
		case <-news:
		case <-c.done:
			return c.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Done is closed when the connection has ended, and its link with it.
func (c *Connection) Done() <-chan struct{} { return c.done }

// Err returns nil before Done is closed; then an error that wraps
// [bus.ErrClosed] after Close or the registry's, the cause of ctx, or what was wrong with the channel.
func (c *Connection) Err() error {
	select {
	case <-c.done:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.err
	default:
		return nil
	}
}

// Stats returns the counters.
func (c *Connection) Stats() ConnectionStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// Close closes the link, as bus.Link.Close does, and attaches no other. It
// returns when that is done; called while inbound middleware of the link runs, maybe by
// that, it does not wait. It returns what closing the link said. Idempotent.
func (c *Connection) Close() error {
	c.cancel(bus.ErrClosed)
	if link := c.Link(); link != nil {
		c.closeLink(link)
		select {
		case <-link.Done():
		default:
			return nil
		}
	}
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}

// closeLink notes what closing it says: whoever is first is told.
func (c *Connection) closeLink(link *bus.Link) {
	if err := link.Close(); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.closing = err
	}
}

const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 5 * time.Second
	// lasting is how long a link must have been ready for the next to be tried at once.
	lasting = time.Second
)

// run attaches one channel after the other until the connection ends.
func (c *Connection) run(ctx context.Context) {
	defer close(c.done)
	defer c.cancel(nil)
	for failures := 0; ; failures++ {
		if !pause(ctx, failures) {
			c.end(context.Cause(ctx))
			return
		}
		link, final, err := c.attach(ctx)
		if err != nil {
			c.failed(err)
			if final {
				c.end(err)
				return
			}
			continue
		}
		lasted, err := c.follow(ctx, link)
		if err != nil {
			c.end(err)
			return
		}
		if lasted {
			failures = -1
		}
	}
}

// pause waits as long as befits that many failures. False when ctx ends.
func pause(ctx context.Context, failures int) bool {
	if ctx.Err() != nil {
		return false
	}
	if failures == 0 {
		return true
	}
	d := min(lastBackoff, firstBackoff<<min(failures-1, 10))
	timer := time.NewTimer(d/2 + rand.N(d/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// attach makes a channel and attaches it. What cannot be attached is closed.
// An error is final if another try would not mend it.
func (c *Connection) attach(ctx context.Context) (link *bus.Link, final bool, err error) {
	ch, err := c.make()
	if err != nil {
		return nil, false, fmt.Errorf("make channel: %w", err)
	}
	link, err = c.registry.RegisterChannel(ctx, ch)
	if err == nil {
		return link, false, nil
	}
	final = errors.Is(err, bus.ErrClosed) || errors.Is(err, bus.ErrInvalidChannel)
	if ch != nil && ch.Close != nil {
		err = errors.Join(err, ch.Close())
	}
	return nil, final, err
}

// make calls the function.
func (c *Connection) make() (ch *bus.Channel, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return c.channel()
}

// follow stays with the link until it ends, and reports whether it has lasted;
// an error if it was the connection that ended it.
func (c *Connection) follow(ctx context.Context, link *bus.Link) (lasted bool, err error) {
	c.set(link)
	defer c.set(nil)
	var since time.Time
	ready := link.Ready()
	for {
		select {
		case <-ready:
			since, ready = time.Now(), nil
		case <-ctx.Done():
			c.closeLink(link)
			return false, context.Cause(ctx)
		case <-link.Done():
			c.ended(link.Err())
			return ready == nil && time.Since(since) >= lasting, nil
		}
	}
}

func (c *Connection) set(link *bus.Link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = link
	if link != nil {
		c.stats.Attached++
	}
	close(c.news)
	c.news = make(chan struct{})
}

func (c *Connection) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Failed++
	c.stats.LastError = err
}

func (c *Connection) ended(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.LastError = err
}

func (c *Connection) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = fmt.Errorf("connection: %w", err)
}
