package brokers

import (
	"context"
	"errors"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
)

// rabbitConsumer is a subscription: a queue, its binding, and whoever takes its messages. It makes all of that again where it has to:
// a server that was killed may have the queue, and not the binding that was made last.
type rabbitConsumer struct {
	rabbit   *rabbit
	topic    string
	queue    string
	args     amqp.Table
	prefetch int
	handle   func(ctx context.Context, d amqp.Delivery, more bool) error // and acks
}

// rabbitAgain is how long a subscription waits before it begins anew.
const rabbitAgain = 100 * time.Millisecond

// begin makes the queue and binds it, and begins to consume. The channel is closed by the caller.
func (c *rabbitConsumer) begin(again bool) (*amqp.Channel, <-chan amqp.Delivery, error) {
	conn, _, _ := c.rabbit.in.get()
	if conn == nil {
		return nil, nil, errRabbitAway
	}
	if again {
		c.rabbit.tellLost(conn, c.queue)
	}
	channel, err := conn.Channel()
	if err != nil {
		return nil, nil, err
	}
	deliveries, err := c.consume(channel)
	if err != nil {
		return nil, nil, errors.Join(err, channel.Close())
	}
	return channel, deliveries, nil
}

func (c *rabbitConsumer) consume(channel *amqp.Channel) (<-chan amqp.Delivery, error) {
	if err := channel.Qos(c.prefetch, 0, false); err != nil {
		return nil, err
	}
	if err := c.rabbit.declare(channel, c.queue, c.topic, c.args); err != nil {
		return nil, err
	}
	return channel.Consume(c.queue, "", false, false, false, false, nil)
}

// declare makes the exchange and a queue that is bound to it.
func (r *rabbit) declare(channel *amqp.Channel, queue, topic string, args amqp.Table) error {
	if err := r.declareExchange(channel); err != nil {
		return err
	}
	if _, err := channel.QueueDeclare(queue, true, false, false, false, args); err != nil {
		return err
	}
	return channel.QueueBind(queue, topic, r.shared.opts.Namespace, false, nil)
}

func (r *rabbit) declareExchange(channel *amqp.Channel) error {
	return channel.ExchangeDeclare(r.shared.opts.Namespace, amqp.ExchangeDirect, true, false, false, false, nil)
}

// tellLost says that a queue is gone, which is about to be made again.
func (r *rabbit) tellLost(conn *amqp.Connection, queue string) {
	channel, err := conn.Channel()
	if err != nil {
		return
	}
	_, err = channel.QueueDeclarePassive(queue, true, false, false, false, nil)
	_ = channel.Close()
	if gone := new(amqp.Error); errors.As(err, &gone) && gone.Code == amqp.NotFound {
		r.shared.opts.Logger.Warn("queue was lost, and is made again", "queue", queue)
	}
}

// run begins, tells so, and goes on until ctx ends. What was taken and not acked then is given back.
func (c *rabbitConsumer) run(ctx context.Context, begun chan<- error) {
	for again := false; ctx.Err() == nil; again = true {
		channel, deliveries, err := c.begin(again)
		if begun != nil {
			begun <- err
			if begun = nil; err != nil {
				return
			}
		}
		if err == nil {
			err = c.take(ctx, channel, deliveries)
			_ = channel.Close()
		}
		if ctx.Err() == nil {
			c.rabbit.shared.opts.Logger.Debug("RabbitMQ: subscription begins anew", "queue", c.queue, "error", err)
			c.rest(ctx)
		}
	}
}

// rabbitLook is how often a subscription makes sure that its queue is bound: nobody tells it when an exchange is deleted.
const rabbitLook = 2 * time.Second

// take handles deliveries until ctx ends, or there are no more.
func (c *rabbitConsumer) take(ctx context.Context, channel *amqp.Channel, deliveries <-chan amqp.Delivery) error {
	look := time.NewTicker(rabbitLook)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if err := c.rabbit.declare(channel, c.queue, c.topic, c.args); err != nil {
				return err
			}
		case d, ok := <-deliveries:
			if !ok {
				return errRabbitAway
			}
			for more := true; more && ctx.Err() == nil; {
				var next amqp.Delivery
				select {
				case next, ok = <-deliveries:
					more = ok
				default:
					more = false
				}
				if err := c.handle(ctx, d, more); err != nil {
					return err
				}
				d = next
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// rest waits a while, and for a connection.
func (c *rabbitConsumer) rest(ctx context.Context) {
	timer := time.NewTimer(rabbitAgain)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	select {
	case <-c.rabbit.in.connected():
	case <-ctx.Done():
	}
}

// fanout returns the consumer of a subscription that gets everything. Its queue outlives the connection, so that nothing is lost when
// that breaks.
func (r *rabbit) fanout(topic, queue string, prefetch int) *rabbitConsumer {
	return &rabbitConsumer{rabbit: r, topic: topic, queue: queue, prefetch: prefetch, args: amqp.Table{
		amqp.QueueTTLArg:    min(r.shared.opts.Retention, rabbitMaxTTL).Milliseconds(),
		amqp.QueueMaxLenArg: r.shared.opts.MaxMessages,
	}}
}

func (r *rabbit) subscribe(ctx context.Context, topic, group string, _ bool) (*source, error) {
	out := make(chan *message.Message)
	c := &rabbitConsumer{rabbit: r, topic: topic, queue: r.queue(group, topic), prefetch: 1}
	if group == "" {
		c = r.fanout(topic, r.queueOf(topic), 1)
	}
	c.handle = func(ctx context.Context, d amqp.Delivery, _ bool) error { return handOver(ctx, out, d) }
	ctx, cancel := context.WithCancel(ctx)
	begun, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		defer close(out)
		c.run(ctx, begun)
	}()
	if err := <-begun; err != nil {
		cancel()
		<-ended
		return nil, err
	}
	r.serves(topic, 1)
	return &source{messages: out, probe: group == "", close: func() error {
		r.serves(topic, -1)
		cancel()
		<-ended
		if group == "" {
			return r.delete(c.queue)
		}
		return nil
	}}, nil
}

// handOver gives the messages of a delivery to the one who reads out, one after the other, and tells the server how that ended.
func handOver(ctx context.Context, out chan<- *message.Message, d amqp.Delivery) error {
	for _, m := range decodeRabbit(d) {
		if !handOverOne(ctx, out, m) {
			return d.Nack(false, true)
		}
	}
	return d.Ack(false)
}

// handOverOne reports whether it was acked.
func handOverOne(ctx context.Context, out chan<- *message.Message, m *message.Message) bool {
	held, done := context.WithCancel(ctx)
	defer done()
	m.SetContext(held)
	select {
	case out <- m:
	case <-ctx.Done():
		return false
	}
	select {
	case <-m.Acked():
		return true
	case <-m.Nacked():
	case <-ctx.Done():
	}
	return false
}

// subscribeFunc acks what fn has taken, many at a time where they come quickly.
func (r *rabbit) subscribeFunc(topic string, fn func(*message.Message)) (stop func(), ended <-chan struct{}, err error) {
	c := r.fanout(topic, r.queueOf(topic), rabbitPrefetch)
	unacked := 0
	c.handle = func(_ context.Context, d amqp.Delivery, more bool) error {
		for _, m := range decodeRabbit(d) {
			fn(m)
		}
		if unacked++; more && unacked < rabbitPrefetch/2 {
			return nil
		}
		unacked = 0
		return d.Ack(true)
	}
	ctx, cancel := context.WithCancel(context.Background())
	begun, over := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(over)
		c.run(ctx, begun)
	}()
	if err := <-begun; err != nil {
		cancel()
		<-over
		return nil, nil, err
	}
	r.serves(topic, 1)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		<-over
		r.serves(topic, -1)
		if err := r.delete(c.queue); err != nil {
			r.shared.opts.Logger.Debug("RabbitMQ: queue not deleted", "queue", c.queue, "error", err)
		}
	}()
	return cancel, gone, nil
}

// rabbitPrefetch is how many messages the client has at a time of a subscription that acks what it has taken: with one it
// waits for the server after each. Where one may be nacked, others must not be on their way: it would come behind them.
const rabbitPrefetch = 256

// rabbitMaxTTL is about the most that RabbitMQ takes.
const rabbitMaxTTL = 24 * 24 * time.Hour

// delete removes the queue of a subscription that has ended. Where that fails, it
// expires.
func (r *rabbit) delete(queue string) error {
	conn, _, _ := r.in.get()
	if conn == nil {
		return nil
	}
	channel, err := conn.Channel()
	if err != nil {
		return err
	}
	_, err = channel.QueueDelete(queue, false, false, false)
	return errors.Join(err, channel.Close())
}

// decodeRabbit returns the messages of a delivery. It leaves out headers that are no strings, which others and the
// broker itself add.
func decodeRabbit(d amqp.Delivery) []*message.Message {
	if d.Headers[keyPacked] == packedTogether {
		all, err := unpackTogether(d.Body)
		if err != nil {
			all = append(all, unreadable(err))
		}
		return all
	}
	return []*message.Message{readable(func() (*message.Message, error) {
		m := message.NewMessage("", d.Body)
		if version, packed := d.Headers[keyPacked].(string); packed {
			return m, unpack(m, version)
		}
		for k, v := range d.Headers {
			s, ok := v.(string)
			switch {
			case ok && k == rabbitUUID:
				m.UUID = s
			case ok:
				m.Metadata[k] = s
			}
		}
		return m, nil
	})}
}
