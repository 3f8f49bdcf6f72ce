package brokers

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"
)

// dialer makes the connections of a client that does not say which it has, and
// can end them all: one that reconnects on its own may be at it when it is closed, and one
// that waits for an answer would make its closing wait.
type dialer struct {
	dial    dialFunc
	mu      sync.Mutex
	ctx     context.Context // guarded by mu: of Open, while that runs, and then one that refuse ends
	stop    func() bool     // ends the hold of that
	cancel  func()          // guarded by mu: ends what is being dialed; nil while Open runs
	refused bool            // guarded by mu
	conns   []*trackedConn  // guarded by mu: those that may be open
}

// newDialer gives the dialer that a ctx holds, until opened: when it ends what is open does too.
func newDialer(ctx context.Context, dial dialFunc) *dialer {
	if dial == nil {
		dial = dialNet
	}
	d := &dialer{dial: dial, ctx: ctx}
	d.stop = context.AfterFunc(ctx, d.close)
	return d
}

const dialTimeout = 5 * time.Second

// Dial is net.Dial, until refuse.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext is Dial for clients that have a ctx, which bounds the dialing only.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	opening := d.ctx
	refused := d.refused
	d.mu.Unlock()
	if refused {
		return nil, net.ErrClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(opening, cancel)()
	conn, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	tracked := &trackedConn{Conn: conn, by: d}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refused || opening.Err() != nil {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	d.conns = append(d.conns, tracked)
	if raw, ok := conn.(syscall.Conn); ok {
		return rawTrackedConn{tracked, raw}, nil
	}
	return tracked, nil
}

// opened ends the hold of Open's ctx. False if that has ended, and what was open with it: then nothing more is dialed.
func (d *dialer) opened() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ctx, d.cancel = context.WithCancel(context.Background())
	held := d.stop()
	d.refused = d.refused || !held
	return held
}

// refuse lets nothing more be dialed, and ends what is being dialed.
func (d *dialer) refuse() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused = true
	if d.cancel != nil {
		d.cancel()
	}
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

// rawTrackedConn is one of a socket: Redis' client looks there whether the server has ended a connection that is idle.
type rawTrackedConn struct {
	*trackedConn
	syscall.Conn
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
