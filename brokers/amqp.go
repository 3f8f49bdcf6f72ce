package brokers

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
)

// rabbit is RabbitMQ: one direct exchange for the namespace, topics are routing
// keys, and each subscription or group has a queue.
type rabbit struct {
	shared *shared
	in     *rabbitConn // of its own: a server that is short of memory holds up connections that publish
	out    *rabbitConn
	pub    *rabbitPublisher

	mu     sync.Mutex
	served map[string]int // guarded by mu: subscriptions of this process, by topic
}

func openAMQP(_ context.Context, a address, s *shared) (backend, error) {
	if err := a.single(rabbitParameters); err != nil {
		return nil, err
	}
	r := &rabbit{shared: s, served: make(map[string]int)}
	connect := func(d *dialer) (*amqp.Connection, error) { return dialRabbit(a, s, d) }
	var err error
	if r.in, err = openRabbitConn(connect, s); err != nil {
		return nil, err
	}
	if r.out, err = openRabbitConn(connect, s); err != nil {
		r.in.close()
		return nil, err
	}
	r.pub = newRabbitPublisher(r)
	return r, nil
}

// dialRabbit connects. The client changes what it is given, so that each connection gets a configuration of its own.
func dialRabbit(a address, s *shared, d *dialer) (*amqp.Connection, error) {
	uri, config := a.url(a.scheme), amqp.Config{
		Heartbeat:  rabbitHeartbeat,
		Locale:     "en_US",
		Dial:       func(network, address string) (net.Conn, error) { return dialRabbitConn(d, network, address) },
		Properties: amqp.Table{"connection_name": "leat " + s.opts.Namespace},
	}
	switch {
	case s.opts.Credentials.SASL == saslExternal:
		config.SASL = []amqp.Authentication{&amqp.ExternalAuth{}}
	case s.login.given:
		config.SASL = []amqp.Authentication{rabbitLogin{s.login}}
	}
	if secure := s.tls(a.host()); secure != nil {
		uri, config.TLSClientConfig = a.url("amqps"), secure
	}
	return amqp.DialConfig(uri, config)
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

func dialRabbitConn(d *dialer, network, address string) (net.Conn, error) {
	conn, err := d.Dial(network, address)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(rabbitHandshake)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func (r *rabbit) Publish(topic string, messages ...*message.Message) error {
	return r.pub.Publish(topic, messages...)
}

// transient: the server refuses nothing that could be told from a channel that has gone.
func (*rabbit) transient(error) bool { return true }

// maxBytes is the server's max_message_size.
func (r *rabbit) maxBytes(string) int { return r.pub.maxBytes() }

// queue is the name of a group's queue.
func (r *rabbit) queue(group, topic string) string {
	return r.shared.opts.Namespace + "." + plainNames.topic(part(group)+"."+part(topic))
}

// queueOf is the name of a subscription's queue, which nobody else has.
func (r *rabbit) queueOf(topic string) string {
	return r.shared.opts.Namespace + "." + topic + "." + uuid.NewString()
}

// serves counts the subscriptions of this process to a topic.
func (r *rabbit) serves(topic string, more int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.served[topic] += more; r.served[topic] == 0 {
		delete(r.served, topic)
	}
}

// isServed reports whether this process has a subscription to a topic, so that there must be a queue.
func (r *rabbit) isServed(topic string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.served[topic] > 0
}

func (*rabbit) flush(context.Context) error { return nil }

func (r *rabbit) close() error {
	r.pub.close()
	var closing sync.WaitGroup
	closing.Go(r.out.close)
	closing.Go(r.in.close)
	closing.Wait()
	return nil
}

func (*rabbit) naming() naming         { return plainNames }
func (*rabbit) guarantees() Guarantees { return rabbitGuarantees }
