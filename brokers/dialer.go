package brokers

import (
	"context"
	"net"
	"sync"
	"time"
)

// dialer makes the connections of a client that does not say which it has, and
// can end them all: one that reconnects on its own may be at it when it is closed, and one
// that waits for an answer would make its closing wait.
type dialer struct {
	mu      sync.Mutex
	ctx     context.Context // guarded by mu: of Open, while that runs
	refused bool            // guarded by mu
	conns   []*trackedConn  // guarded by mu: those that may be open
}

func newDialer(ctx context.Context) *dialer { return &dialer{ctx: ctx} }

const dialTimeout = 10 * time.Second

// Dial is net.Dial, until refuse.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	d.mu.Lock()
	ctx := d.ctx
	refused := d.refused
	d.mu.Unlock()
	if refused {
		return nil, net.ErrClosed
	}
	dialing := net.Dialer{Timeout: dialTimeout}
	conn, err := dialing.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	tracked := &trackedConn{Conn: conn, by: d}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refused {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	d.conns = append(d.conns, tracked)
	return tracked, nil
}

// deadline is when what takes so long at most has to be done: at the end of Open's ctx, if that is before.
func (d *dialer) deadline(most time.Duration) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	by := time.Now().Add(most)
	if end, ok := d.ctx.Deadline(); ok && end.Before(by) {
		return end
	}
	return by
}

// opened ends the hold of Open's ctx.
func (d *dialer) opened() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ctx = context.Background()
}

// refuse lets nothing more be dialed.
func (d *dialer) refuse() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused = true
}

// close ends what is open.
func (d *dialer) close() {
	d.mu.Lock()
	left := d.conns
	d.conns = nil
	d.mu.Unlock()
	for _, c := range left {
		_ = c.Conn.Close()
	}
}

type trackedConn struct {
	net.Conn
	by *dialer
}

func (c *trackedConn) Close() error {
	c.by.mu.Lock()
	for i, other := range c.by.conns {
		if other == c {
			c.by.conns = append(c.by.conns[:i], c.by.conns[i+1:]...)
			break
		}
	}
	c.by.mu.Unlock()
	return c.Conn.Close()
}
