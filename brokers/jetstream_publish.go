package brokers

import (
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
)

// jetStreamPublisher publishes the messages of a call together, where the adapter waits for the confirmation of each.
type jetStreamPublisher struct {
	conn  *nats.Conn
	limit *natsLimit
	js    nats.JetStreamContext
	coder natsCoder
	most  int // bytes of a message that the stream takes; 0 or less is no limit

	// proven is the connection, counted from 1, on which the stream has confirmed something. On a new one the first
	// message goes alone: a server that has just come back may refuse some and take those behind them.
	proven atomic.Uint64
}

// jetStreamWait is how long a confirmation may take.
const jetStreamWait = 5 * time.Second

func newJetStreamPublisher(conn *nats.Conn, coder natsCoder, most int32) (*jetStreamPublisher, error) {
	js, err := conn.JetStream(nats.PublishAsyncMaxPending(1<<20), nats.PublishAsyncTimeout(jetStreamWait)) // calls have windows
	if err != nil {
		return nil, err
	}
	return &jetStreamPublisher{conn: conn, limit: newNATSLimit(conn), js: js, coder: coder, most: int(most)}, nil
}

// maxBytes is the less of what the server and the stream take.
func (p *jetStreamPublisher) maxBytes() int { return p.bounded(p.limit.last()) }

func (p *jetStreamPublisher) bounded(limit int) int {
	if p.most > 0 {
		return min(limit, p.most)
	}
	return limit
}

func (p *jetStreamPublisher) Publish(topic string, messages ...*message.Message) error {
	all, err := p.coder.encodeAll(topic, messages, p.bounded(p.limit.ask()))
	if err != nil {
		return err
	}
	return inWindows(all, p.send)
}

// connection numbers the connections, from 1.
func (p *jetStreamPublisher) connection() uint64 { return p.conn.Stats().Reconnects + 1 }

// send publishes a window, and returns how many of it were confirmed, from the front.
func (p *jetStreamPublisher) send(window []*nats.Msg) (n int, err error) {
	conn := p.connection()
	if p.proven.Load() != conn {
		if _, err := p.js.PublishMsg(window[0]); err != nil {
			return 0, err
		}
		p.proven.Store(conn)
		n = 1
	}
	sent := make([]nats.PubAckFuture, 0, len(window))
	for _, m := range window[n:] {
		if p.connection() != conn { // those before it may be lost: it would overtake them
			err = nats.ErrDisconnected
			break
		}
		var f nats.PubAckFuture
		if f, err = p.js.PublishMsgAsync(m); err != nil {
			break
		}
		sent = append(sent, f)
	}
	for _, f := range sent {
		select {
		case <-f.Ok():
			n++
		case err := <-f.Err():
			return n, err
		}
	}
	return n, err
}
