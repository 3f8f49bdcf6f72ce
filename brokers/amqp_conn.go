package brokers

import (
	"context"
	"log/slog"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// rabbitConn is a connection that is made again when it breaks, until it is closed.
type rabbitConn struct {
	connect func(*dialer) (*amqp.Connection, error)
	dialer  *dialer // of connections after the first one
	log     *slog.Logger
	closing chan struct{}
	ended   chan struct{} // closed when nothing is dialed any more

	mu    sync.Mutex
	conn  *amqp.Connection // guarded by mu: nil while there is none
	up    chan struct{}    // guarded by mu: closed while there is one
	made  uint64           // guarded by mu: connections so far
	since time.Time        // guarded by mu: when the last one was made
}

func openRabbitConn(connect func(*dialer) (*amqp.Connection, error), s *shared) (*rabbitConn, error) {
	conn, err := connect(s.dialer)
	if err != nil {
		return nil, err
	}
	c := &rabbitConn{
		connect: connect,
		dialer:  newDialer(context.Background(), s.opts.Dial),
		log:     s.opts.Logger,
		closing: make(chan struct{}),
		ended:   make(chan struct{}),
		up:      make(chan struct{}),
	}
	c.dialer.opened()
	c.has(conn)
	go c.run(conn)
	return c, nil
}

// has notes that there is a connection.
func (c *rabbitConn) has(conn *amqp.Connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn, c.since = conn, time.Now()
	c.made++
	close(c.up)
}

// lost notes that there is none.
func (c *rabbitConn) lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn, c.up = nil, make(chan struct{})
}

// get returns the connection, nil if there is none, its number, and when it was made.
func (c *rabbitConn) get() (conn *amqp.Connection, number uint64, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn, c.made, c.since
}

// connected is closed while there is a connection.
func (c *rabbitConn) connected() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up
}

// Pauses between two attempts to connect, of which the first is doubled each time.
const (
	rabbitPause    = 100 * time.Millisecond
	rabbitMaxPause = time.Second
)

// run is the goroutine.
func (c *rabbitConn) run(conn *amqp.Connection) {
	defer close(c.ended)
	for conn != nil {
		broken := conn.NotifyClose(make(chan *amqp.Error, 1))
		select {
		case err := <-broken:
			c.log.Debug("RabbitMQ: connection lost", "error", err)
		case <-c.closing:
			if err := conn.CloseDeadline(time.Now().Add(rabbitGoodbye)); err != nil {
				c.log.Debug("RabbitMQ: disconnect", "error", err)
			}
			return
		}
		c.lost()
		if conn = c.again(); conn != nil {
			c.has(conn)
		}
	}
}

// rabbitGoodbye is how long the server may take to answer that a connection is closed.
const rabbitGoodbye = 3 * time.Second

// again connects, and returns nil if it is not to any more.
func (c *rabbitConn) again() *amqp.Connection {
	for pause := rabbitPause; ; pause = min(2*pause, rabbitMaxPause) {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-c.closing:
			timer.Stop()
			return nil
		}
		conn, err := c.connect(c.dialer)
		if err == nil {
			return conn
		}
		c.log.Debug("RabbitMQ: cannot connect", "error", err)
	}
}

// close ends the connection, and what is being dialed.
func (c *rabbitConn) close() {
	close(c.closing)
	c.dialer.refuse()
	if conn, _, _ := c.get(); conn == nil {
		c.dialer.close()
	}
	<-c.ended
	c.dialer.close()
}
