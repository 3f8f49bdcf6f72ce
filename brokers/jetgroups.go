package brokers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
)

// jetGroups are the queues of groups: a work queue for the namespace, in which each group and topic has a subject of its own, from which
// the server removes what is acked. Subscriptions ask for a message when they have none.
type jetGroups struct {
	jet    *jetStream
	stream string
	prefix string // of subjects
	pub    *jetStreamPublisher

	mu    sync.Mutex
	asked time.Time                       // guarded by mu: when known was asked for
	known map[string]map[string]time.Time // guarded by mu: by topic, its queues, and when they were last seen
}

func newJetGroups(j *jetStream) *jetGroups {
	name := j.stream + "_queues" // a namespace has no underscore
	return &jetGroups{jet: j, stream: name, prefix: name + "."}
}

const (
	// jetKnown is how long what a process knows of groups holds. A group that is new waits for a little longer until it exists: then
	// every publisher has heard of it.
	jetKnown = 250 * time.Millisecond
	// jetYoung is for how long a group counts as new: somebody else may have made it just now, by another clock.
	jetYoung = 10 * time.Second
	// jetLinger is how long a group counts as being there after it has vanished: whoever needs it makes it again.
	jetLinger = time.Minute
	// jetWaiting bounds the subscriptions of a group that wait for a message: more of them take turns.
	jetWaiting = 4096
	// jetPull is how long the server keeps a request for a message.
	jetPull = 10 * time.Second
)

func (g *jetGroups) ensure(ctx context.Context) (made bool, err error) {
	_, made, err = g.jet.ensure(ctx, &nats.StreamConfig{
		Name:                 g.stream,
		Subjects:             []string{g.prefix + ">"},
		Retention:            nats.WorkQueuePolicy,
		MaxMsgsPerSubject:    g.jet.shared.opts.MaxMessages,
		Discard:              nats.DiscardNew,
		DiscardNewPerSubject: true,
	})
	return made, err
}

func (g *jetGroups) subject(queue, topic string) string { return g.prefix + queue + "." + topic }

// publish puts messages into the queues of all groups that the topic has.
func (g *jetGroups) publish(topic string, messages []*message.Message) error {
	queues, err := g.of(topic)
	if err != nil {
		return err
	}
	for _, queue := range queues {
		if err := g.put(queue, topic, messages); err != nil {
			if part := new(partError); errors.As(err, &part) { // the topic has none of them
				return &partError{0, part.done + part.behind, part.err}
			}
			return err
		}
	}
	return nil
}

// put publishes to one queue: each message is confirmed, or refused because the queue is full. Of a call that is partly refused the
// rest may be published again, so that messages have IDs by which the server knows them.
func (g *jetGroups) put(queue, topic string, messages []*message.Message) error {
	all, err := g.jet.coder.encodeAll(topic, messages, g.pub.maxBytes())
	if err != nil {
		return err
	}
	for i, m := range messages {
		msg := all[i].msg
		if msg.Subject = g.subject(queue, topic); m.UUID == "" {
			continue
		}
		if msg.Header == nil {
			msg.Header = make(nats.Header)
		}
		sum := sha256.Sum256(append([]byte(queue+"\x00"), m.Payload...))
		msg.Header[nats.MsgIdHdr] = []string{escapeHeader(m.UUID) + "-" + hex.EncodeToString(sum[:8])}
	}
	err = inWindows(all, g.pub.send)
	var refused *nats.APIError
	switch {
	case unanswered(err):
		ctx, cancel := context.WithTimeout(context.Background(), leaseCall)
		defer cancel()
		made, again := g.ensure(ctx)
		if made {
			g.jet.shared.opts.Logger.Warn("stream was not there", "stream", g.stream, "made_again", true)
		}
		return errors.Join(err, again) // it is published again
	case errors.As(err, &refused) && strings.Contains(refused.Description, "maximum messages per subject"):
		return full(err, topic)
	}
	return err
}

// of returns the queues that a topic has, which are asked for if what is known is too old.
func (g *jetGroups) of(topic string) ([]string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := time.Now(); now.Sub(g.asked) > jetKnown {
		if err := g.ask(now); err != nil {
			return nil, err
		}
	}
	var queues []string
	for queue := range g.known[topic] {
		queues = append(queues, queue)
	}
	return queues, nil
}

// ask lists the groups. g.mu is held: who publishes meanwhile needs to know as well.
func (g *jetGroups) ask(now time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), leaseCall)
	defer cancel()
	known := make(map[string]map[string]time.Time)
	add := func(topic, queue string, seen time.Time) {
		if known[topic] == nil {
			known[topic] = make(map[string]time.Time)
		}
		if seen.After(known[topic][queue]) {
			known[topic][queue] = seen
		}
	}
	for topic, queues := range g.known {
		for queue, seen := range queues {
			if now.Sub(seen) < jetLinger {
				add(topic, queue, seen)
			}
		}
	}
	err := g.list(ctx, func(filter string) {
		if queue, topic, ok := strings.Cut(strings.TrimPrefix(filter, g.prefix), "."); ok {
			add(topic, queue, now)
		}
	})
	if err != nil {
		return fmt.Errorf("list the groups: %w", err)
	}
	g.asked, g.known = now, known
	return nil
}

// list calls fn with the subject of each group.
func (g *jetGroups) list(ctx context.Context, fn func(filter string)) error {
	for offset := 0; ; {
		request, err := json.Marshal(map[string]int{"offset": offset})
		if err != nil {
			return err
		}
		answer, err := g.jet.conn.RequestWithContext(ctx, "$JS.API.CONSUMER.LIST."+g.stream, request)
		if err != nil {
			return err
		}
		var page struct {
			Total     int `json:"total"`
			Consumers []struct {
				Config struct {
					FilterSubject string `json:"filter_subject"`
				} `json:"config"`
			} `json:"consumers"`
			Error *nats.APIError `json:"error"`
		}
		if err := json.Unmarshal(answer.Data, &page); err != nil {
			return err
		}
		switch {
		case page.Error != nil && page.Error.ErrorCode == nats.JSErrCodeStreamNotFound:
			return nil
		case page.Error != nil:
			return page.Error
		}
		for i := range page.Consumers {
			fn(page.Consumers[i].Config.FilterSubject)
		}
		if offset += len(page.Consumers); len(page.Consumers) == 0 || offset >= page.Total {
			return nil
		}
	}
}

func (g *jetGroups) subscribe(ctx context.Context, topic, group string) (*source, error) {
	t := &jetTaker{groups: g, queue: jetQueueOf(group, topic), topic: topic}
	if _, err := t.restore(ctx); err != nil {
		return nil, fmt.Errorf("group %q: %w", group, err)
	}
	return g.jet.shared.lease(ctx, topic, group, t), nil
}

// jetTaker is a subscription of a group.
type jetTaker struct {
	groups     *jetGroups
	queue      string // the consumer
	topic      string
	broken     bool // what it takes from may be lost
	sub        *nats.Subscription
	in         chan *nats.Msg // of sub
	reconnects uint64         // of the connection, when sub was made
}

// restore makes the group, if it is not there, and waits until every publisher knows of it. What waits in the queue is its.
func (t *jetTaker) restore(ctx context.Context) (made bool, err error) {
	g := t.groups
	if _, err := g.ensure(ctx); err != nil {
		return false, err
	}
	js, wait := g.jet.js, g.jet.shared.opts.AckWait
	config := &nats.ConsumerConfig{
		Durable:       t.queue,
		DeliverPolicy: nats.DeliverAllPolicy,
		FilterSubject: g.subject(t.queue, t.topic),
		AckPolicy:     nats.AckExplicitPolicy,
		AckWait:       wait,
		MaxAckPending: -1,
		MaxWaiting:    jetWaiting,
	}
	info, err := js.ConsumerInfo(g.stream, t.queue, nats.Context(ctx))
	switch {
	case errors.Is(err, nats.ErrConsumerNotFound):
		made = true
		if info, err = js.AddConsumer(g.stream, config, nats.Context(ctx)); errors.Is(err, nats.ErrConsumerNameAlreadyInUse) {
			info, err = js.ConsumerInfo(g.stream, t.queue, nats.Context(ctx))
		}
	case err == nil && info.Config.AckWait != wait: // the latest counts: all extend often enough
		changed := info.Config
		changed.AckWait = wait
		_, err = js.UpdateConsumer(g.stream, &changed, nats.Context(ctx))
	}
	if err != nil || time.Since(info.Created) > jetYoung {
		return made, err
	}
	timer := time.NewTimer(jetKnown + jetKnown/5)
	defer timer.Stop()
	select {
	case <-timer.C:
		return made, nil
	case <-ctx.Done():
		return made, ctx.Err()
	}
}

// take asks for one message, and waits as long as the server keeps that in mind.
func (t *jetTaker) take(ctx context.Context) (lease, error) {
	if t.broken {
		t.hang()
		call, cancel := context.WithTimeout(ctx, leaseCall)
		made, err := t.restore(call)
		cancel()
		if err != nil {
			return nil, err
		}
		if t.broken = false; made {
			t.groups.jet.shared.opts.Logger.Warn("group was lost", "stream", t.groups.stream, "group", t.queue, "made_again", true)
		}
	}
	m, err := t.pull(ctx)
	if err != nil {
		t.broken = true
		return nil, err
	}
	if m == nil {
		return nil, nil
	}
	delete(m.Header, nats.MsgIdHdr)
	got, _ := t.groups.jet.coder.Unmarshal(m)
	return &jetLease{t.groups.jet.conn, m, got}, nil
}

func (t *jetTaker) pull(ctx context.Context) (*nats.Msg, error) {
	conn := t.groups.jet.conn
	if t.sub == nil {
		inbox := nats.NewInbox()
		t.in = make(chan *nats.Msg, 16)
		sub, err := conn.ChanSubscribe(inbox, t.in)
		if err != nil {
			return nil, err
		}
		t.sub, t.reconnects = sub, conn.Stats().Reconnects
	}
	request := fmt.Appendf(nil, `{"batch":1,"expires":%d}`, jetPull)
	if err := conn.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+t.groups.stream+"."+t.queue, t.sub.Subject, request); err != nil {
		return nil, err
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for giveUp := time.Now().Add(jetPull + time.Second); ; {
		select {
		case m := <-t.in:
			switch status := m.Header.Get("Status"); {
			case status == "":
				return m, nil
			case status == "408", status == "404":
				return nil, nil
			default:
				return nil, fmt.Errorf("%s %s", status, m.Header.Get("Description"))
			}
		case <-tick.C:
			if conn.Stats().Reconnects != t.reconnects {
				return nil, errors.New("the connection was broken")
			}
			if time.Now().After(giveUp) {
				return nil, errors.New("no answer")
			}
		case <-ctx.Done():
			return nil, nil
		}
	}
}

// hang ends the request that the server may have in mind, and gives back what has come for it.
func (t *jetTaker) hang() {
	if t.sub == nil {
		return
	}
	_ = t.sub.Unsubscribe()
	t.sub = nil
	t.giveBack()
}

func (t *jetTaker) giveBack() {
	for {
		select {
		case m := <-t.in:
			if m.Header.Get("Status") == "" {
				_ = t.groups.jet.conn.Publish(m.Reply, []byte("-NAK"))
			}
		default:
			return
		}
	}
}

func (t *jetTaker) leave(ctx context.Context) error {
	if t.sub == nil {
		return nil
	}
	err := t.sub.Drain() // nothing more is sent to it; what is on its way comes before the answer to a flush
	if err == nil {
		err = t.groups.jet.conn.FlushWithContext(ctx)
	}
	t.giveBack()
	return err
}

// jetLease is a message that the server has given to this subscription.
type jetLease struct {
	conn *nats.Conn
	in   *nats.Msg
	m    *message.Message
}

func (l *jetLease) message() *message.Message { return l.m }

func (l *jetLease) extend(context.Context) error { return l.conn.Publish(l.in.Reply, []byte("+WPI")) }

func (l *jetLease) ack(ctx context.Context) error {
	_, err := l.conn.RequestWithContext(ctx, l.in.Reply, []byte("+ACK"))
	if errors.Is(err, nats.ErrNoResponders) { // the consumer has gone, with what it knew
		return errNotOut
	}
	return err
}

func (l *jetLease) nack(_ context.Context, pause time.Duration) error {
	if pause == 0 {
		return l.conn.Publish(l.in.Reply, []byte("-NAK"))
	}
	return l.conn.Publish(l.in.Reply, fmt.Appendf(nil, `-NAK {"delay": %d}`, pause))
}
