package brokers

import (
	"context"
	"errors"
	"net"
	"time"

	wmamqp "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
)

// rabbit is RabbitMQ: one direct exchange for the namespace, topics are routing
// keys, and each subscription or group has a queue.
type rabbit struct {
	shared *shared
	dialer *dialer
	in     *wmamqp.ConnectionWrapper // of its own: a server that is short of memory holds up connections that publish
	out    *wmamqp.ConnectionWrapper
	pub    *rabbitPublisher
}

func openAMQP(_ context.Context, a address, s *shared) (backend, error) {
	if err := a.single(rabbitParameters); err != nil {
		return nil, err
	}
	r := &rabbit{shared: s, dialer: s.dialer}
	config := wmamqp.ConnectionConfig{
		AmqpURI: a.url(a.scheme),
		AmqpConfig: &amqp.Config{
			Heartbeat:  rabbitHeartbeat,
			Locale:     "en_US",
			Dial:       r.dial,
			Properties: amqp.Table{"connection_name": "leat " + s.opts.Namespace},
		},
		Reconnect: &wmamqp.ReconnectConfig{
			BackoffInitialInterval:     100 * time.Millisecond,
			BackoffRandomizationFactor: 0.5,
			BackoffMultiplier:          1.5,
			BackoffMaxInterval:         time.Second,
		},
	}
	switch {
	case s.opts.Credentials.SASL == saslExternal:
		config.AmqpConfig.SASL = []amqp.Authentication{&amqp.ExternalAuth{}}
	case s.login.given:
		config.AmqpConfig.SASL = []amqp.Authentication{rabbitLogin{s.login}}
	}
	if secure := s.tls(a.host()); secure != nil {
		config.AmqpURI, config.AmqpConfig.TLSClientConfig = a.url("amqps"), secure
	}
	log, err := adapterLog(s.opts.Logger), error(nil)
	if r.in, err = wmamqp.NewConnection(config, log); err != nil {
		return nil, err
	}
	if r.out, err = wmamqp.NewConnection(config, log); err != nil {
		return nil, errors.Join(err, r.in.Close())
	}
	r.pub = newRabbitPublisher(s.opts.Namespace, r.out)
	return r, nil
}

// rabbitLogin is the mechanism PLAIN, asked anew for each connection.
type rabbitLogin struct{ login login }

func (rabbitLogin) Mechanism() string { return saslPlain }

func (l rabbitLogin) Response() string {
	user, password := l.login.soon()
	return (&amqp.PlainAuth{Username: user, Password: password}).Response()
}

const (
	rabbitHeartbeat = 5 * time.Second
	rabbitHandshake = 10 * time.Second // after which the client clears the deadline
)

func (r *rabbit) dial(network, address string) (net.Conn, error) {
	conn, err := r.dialer.Dial(network, address)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(rabbitHandshake)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// config is what subscriptions have in common.
func (r *rabbit) config() wmamqp.Config {
	return wmamqp.Config{
		Marshaler: rabbitCoder{},
		Exchange: wmamqp.ExchangeConfig{
			GenerateName: wmamqp.GenerateExchangeNameConstant(r.shared.opts.Namespace),
			Type:         amqp.ExchangeDirect,
			Durable:      true,
		},
		QueueBind:       wmamqp.QueueBindConfig{GenerateRoutingKey: func(topic string) string { return topic }},
		Consume:         wmamqp.ConsumeConfig{Qos: wmamqp.QosConfig{PrefetchCount: 1}},
		TopologyBuilder: &wmamqp.DefaultTopologyBuilder{},
	}
}

func (r *rabbit) Publish(topic string, messages ...*message.Message) error {
	return r.pub.Publish(topic, messages...)
}

// transient: the server refuses nothing else that could be told from a channel that has gone.
func (*rabbit) transient(err error) bool { return !errors.Is(err, ErrTooLarge) }

// maxBytes is the server's max_message_size.
func (r *rabbit) maxBytes(string) int { return r.pub.maxBytes() }

func (r *rabbit) subscribe(ctx context.Context, topic, group string, acked bool) (*source, error) {
	queue := r.shared.opts.Namespace + "." + plainNames.topic(part(group)+"."+part(topic))
	config := r.config()
	if acked {
		config.Consume.Qos.PrefetchCount = rabbitPrefetch
	}
	if group == "" {
		queue = r.shared.opts.Namespace + "." + topic + "." + uuid.NewString()
		// It outlives the connection, so that nothing is lost when that breaks.
		config.Queue.Arguments = amqp.Table{
			amqp.QueueTTLArg:    min(r.shared.opts.Retention, rabbitMaxTTL).Milliseconds(),
			amqp.QueueMaxLenArg: r.shared.opts.MaxMessages,
		}
	}
	config.Queue.GenerateName, config.Queue.Durable = wmamqp.GenerateQueueNameConstant(queue), true
	// A subscriber of its own: the name of the queue is fixed at construction, and only Close ends it
	// when it waits for an ack.
	sub, err := wmamqp.NewSubscriberWithConnection(config, adapterLog(r.shared.opts.Logger), r.in)
	if err != nil {
		return nil, err
	}
	messages, err := sub.Subscribe(ctx, topic)
	if err != nil {
		return nil, errors.Join(err, sub.Close())
	}
	return &source{messages: messages, probe: group == "", restore: restoreRabbit, close: func() error {
		err := sub.Close()
		if group == "" {
			err = errors.Join(err, r.delete(queue))
		}
		return err
	}}, nil
}

// rabbitPrefetch is how many messages the client has at a time of a subscription that acks them at once: with one it
// waits for the server after each. Where one may be nacked, others must not be on their way: it would come behind them.
const rabbitPrefetch = 100

// rabbitMaxTTL is about the most that RabbitMQ takes.
const rabbitMaxTTL = 24 * 24 * time.Hour

// delete removes the queue of a subscription that has ended. Where that fails, it
// expires.
func (r *rabbit) delete(queue string) error {
	if !r.in.IsConnected() {
		return nil
	}
	channel, err := r.in.Connection().Channel()
	if err != nil {
		return err
	}
	_, err = channel.QueueDelete(queue, false, false, false)
	return errors.Join(err, channel.Close())
}

func (*rabbit) flush(context.Context) error { return nil }

// rabbitBack is how long close waits for a connection that is broken: the
// adapter's goroutine that makes it again ends only behind one that it has made.
const rabbitBack = 3 * time.Second

func (r *rabbit) close() error {
	back := time.NewTimer(rabbitBack)
	defer back.Stop()
	for _, conn := range []*wmamqp.ConnectionWrapper{r.out, r.in} {
		select {
		case <-conn.Connected():
		case <-back.C:
			r.shared.opts.Logger.Debug("closed while RabbitMQ is away: a goroutine of the adapter is left")
			back.Reset(0) // nor for the other
		}
	}
	r.dialer.refuse()
	r.pub.close()
	err := errors.Join(r.out.Close(), r.in.Close())
	r.dialer.close()
	return err
}

func (*rabbit) naming() naming         { return plainNames }
func (*rabbit) guarantees() Guarantees { return rabbitGuarantees }
