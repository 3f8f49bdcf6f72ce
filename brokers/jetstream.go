package brokers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
)

// jetStream is NATS with storage: one stream for the namespace, with a subject
// for each topic.
type jetStream struct {
	shared *shared
	conn   *nats.Conn
	js     nats.JetStreamContext
	stream string
	pub    *jetStreamPublisher
	coder  natsCoder
}

func openJetStream(ctx context.Context, a address, s *shared) (backend, error) {
	// Nothing is buffered while disconnected: a server that has just come back has no JetStream yet, and what is
	// sent then is heard of only when its confirmation is overdue.
	conn, _, err := connectNATS(ctx, a, s, s.dialer, nats.ReconnectBufSize(-1))
	if err != nil {
		return nil, err
	}
	j := &jetStream{shared: s, conn: conn, stream: s.opts.Namespace, coder: natsCoder{prefix: s.opts.Namespace + "."}}
	if err := j.open(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return j, nil
}

func (j *jetStream) open(ctx context.Context) (err error) {
	if j.js, err = j.conn.JetStream(); err != nil {
		return err
	}
	config := &nats.StreamConfig{
		Name:              j.stream,
		Subjects:          []string{j.coder.prefix + ">"},
		MaxAge:            j.shared.opts.Retention,
		MaxMsgsPerSubject: j.shared.opts.MaxMessages,
		Discard:           nats.DiscardOld,
	}
	info, err := j.js.AddStream(config, nats.Context(ctx))
	if errors.Is(err, nats.ErrStreamNameAlreadyInUse) { // with other limits: the latest count
		info, err = j.js.UpdateStream(config, nats.Context(ctx))
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", j.stream, err)
	}
	j.pub, err = newJetStreamPublisher(j.conn, j.coder, info.Config.MaxMsgSize)
	return err
}

func (j *jetStream) Publish(topic string, messages ...*message.Message) error {
	return j.pub.Publish(topic, messages...)
}

func (*jetStream) transient(err error) bool {
	var refused *nats.APIError
	return !errors.Is(err, nats.ErrMaxPayload) && !errors.As(err, &refused)
}

// jetStreamHeartbeat is how often the server says that a subscription lives. One
// that has missed two is made again, behind the last message that came.
const jetStreamHeartbeat = time.Second

func (j *jetStream) subscribe(ctx context.Context, topic, group string, _ bool) (*source, error) {
	ended := make(chan struct{})
	src := &source{gate: newGate(), probe: group == "", ended: ended}
	watch := newWatch(ended)
	config := wmnats.SubscriberSubscriptionConfig{
		Unmarshaler:       watchedNATS{gatedNATS{j.coder, src.gate}, group == "", watch},
		SubjectCalculator: j.coder.subject,
		QueueGroupPrefix:  group,
	}
	if group == "" {
		// The client sees gaps, and asks for what is missing. There are no acks.
		config.AckWaitTimeout = forever
		config.JetStream.SubscribeOptions = []nats.SubOpt{nats.OrderedConsumer(), nats.IdleHeartbeat(jetStreamHeartbeat), nats.DeliverNew()}
	} else {
		consumer, err := j.group(ctx, topic, group)
		if err != nil {
			return nil, err
		}
		src.leave = watch.leave
		config.AckWaitTimeout = j.shared.opts.AckWait
		config.NakDelay = wmnats.NewStaticDelay(nackPause)
		config.JetStream.DurableCalculator = func(string, string) string { return consumer }
		config.JetStream.DurablePrefix = consumer
		// Without ManualAck the client acks what the adapter has given up.
		config.JetStream.SubscribeOptions = []nats.SubOpt{nats.ManualAck()}
	}
	sub, err := wmnats.NewSubscriberWithNatsConn(j.conn, config, adapterLog(j.shared.opts.Logger))
	if err != nil {
		return nil, err
	}
	src.messages, err = sub.Subscribe(ctx, topic)
	return src, err
}

// nackPause is how long a nacked message stays away, where the broker can do that.
const nackPause = 100 * time.Millisecond

// jetStreamOut bounds the messages of a group that are out, with all of its
// subscriptions together.
const jetStreamOut = 16

// group makes the durable consumer of a group. The client library would delete
// one that it has made itself when the subscription that made it ends.
func (j *jetStream) group(ctx context.Context, topic, group string) (consumer string, err error) {
	consumer = strings.ReplaceAll(naming{dashNames.others, 100}.topic(part(group)+"."+part(topic)), ".", "_")
	_, err = j.js.AddConsumer(j.stream, &nats.ConsumerConfig{
		Durable:        consumer,
		DeliverGroup:   group,
		DeliverSubject: "_" + j.stream + ".deliver." + consumer,
		DeliverPolicy:  nats.DeliverNewPolicy,
		FilterSubject:  j.coder.prefix + topic,
		AckPolicy:      nats.AckExplicitPolicy,
		AckWait:        j.shared.opts.AckWait,
		MaxAckPending:  jetStreamOut,
	}, nats.Context(ctx))
	if err != nil && !errors.Is(err, nats.ErrConsumerNameAlreadyInUse) {
		return "", fmt.Errorf("group %q: %w", group, err)
	}
	return consumer, nil
}

func (j *jetStream) flush(ctx context.Context) error { return j.conn.FlushWithContext(ctx) }
func (j *jetStream) close() error                    { closeNATS(j.conn); return nil }
func (j *jetStream) maxBytes(string) int             { return j.pub.maxBytes() }
func (*jetStream) naming() naming                    { return plainNames }
func (*jetStream) guarantees() Guarantees            { return jetStreamGuarantees }

// watchedNATS also looks after the subscription: the client gives up on one
// that it cannot make again, and the adapter never hears of it.
type watchedNATS struct {
	gatedNATS
	ackless bool
	watch   *watch
}

// watch tells, once, that a subscription has ended.
type watch struct {
	sub   atomic.Pointer[nats.Subscription] // nil before the first message
	end   sync.Once
	ended chan struct{}
}

func newWatch(ended chan struct{}) *watch { return &watch{ended: ended} }

// leave ends the subscription at the server, and lets what has come be given back.
func (w *watch) leave() <-chan struct{} {
	sub := w.sub.Load()
	if sub == nil || sub.Drain() != nil {
		return nil
	}
	return w.ended
}

func (w watchedNATS) Unmarshal(m *nats.Msg) (*message.Message, error) {
	if w.watch.sub.CompareAndSwap(nil, m.Sub) {
		m.Sub.SetClosedHandler(func(string) { w.watch.end.Do(func() { close(w.watch.ended) }) })
	}
	got, err := w.gatedNATS.Unmarshal(m)
	switch {
	case w.ackless:
		m.Reply = "" // else the adapter tries to ack
	case err != nil: // too late: for another subscription of the group, and not while the server still knows this one
		_ = m.NakWithDelay(nackPause)
	}
	return got, err
}
