package fleet_test

import (
	"context"
	"strings"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus/memory"
)

// depot is a Pub/Sub with queues: topics that have ".queue." in their names are shared by who subscribes through Queue, keep what
// nobody has acked, and give it to the next one when it is nacked or its subscription ends.
type depot struct {
	*memory.PubSub

	mu     sync.Mutex
	queues map[string]chan *message.Message
	sent   []*message.Message                           // guarded by mu: to queues
	acked  int                                          // guarded by mu
	refuse func(topic string, m *message.Message) error // guarded by mu; nil: nothing
}

func newDepot() *depot {
	return &depot{PubSub: memory.New(memory.Options{}), queues: make(map[string]chan *message.Message)}
}

func (d *depot) queue(topic string) chan *message.Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.queues[topic]
	if q == nil {
		q = make(chan *message.Message, 1<<12)
		d.queues[topic] = q
	}
	return q
}

func (d *depot) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		d.mu.Lock()
		refuse := d.refuse
		d.mu.Unlock()
		if refuse != nil {
			if err := refuse(topic, m); err != nil {
				return err
			}
		}
		if !strings.Contains(topic, ".queue.") {
			if err := d.PubSub.Publish(topic, m); err != nil {
				return err
			}
			continue
		}
		d.mu.Lock()
		d.sent = append(d.sent, m.Copy())
		d.mu.Unlock()
		d.queue(topic) <- m.Copy()
	}
	return nil
}

// again delivers the nth message of all queues once more.
func (d *depot) again(topic string, n int) {
	d.mu.Lock()
	m := d.sent[n].Copy()
	d.mu.Unlock()
	d.queue(topic) <- m
}

// queued is how many messages were published to queues.
func (d *depot) queued() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.sent)
}

func (d *depot) acks() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.acked
}

// Queue is fleet.Options.Queue.
func (d *depot) Queue(string) (message.Subscriber, error) { return taker{d}, nil }

type taker struct{ *depot }

func (t taker) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	q, out := t.queue(topic), make(chan *message.Message)
	go func() {
		defer close(out)
		for {
			select {
			case m := <-q:
				if !t.hand(ctx, out, m.Copy()) {
					q <- m
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// hand reports whether the message was acked.
func (t taker) hand(ctx context.Context, out chan<- *message.Message, m *message.Message) bool {
	select {
	case out <- m:
	case <-ctx.Done():
		return false
	}
	select {
	case <-m.Acked():
		t.mu.Lock()
		defer t.mu.Unlock()
		t.acked++
		return true
	case <-m.Nacked():
	case <-ctx.Done():
		select {
		case <-m.Acked():
			t.mu.Lock()
			defer t.mu.Unlock()
			t.acked++
			return true
		default:
		}
	}
	return false
}
