package memory_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"

	"github.com/leatbus/leat/bus/memory"
)

// Watermill's suite publishes first and subscribes later, and lets several
// subscriptions read a topic from its beginning. A Pub/Sub that stores nothing
// cannot do that, so recorded adds a record of each topic, and nothing else:
// every subscription is one of the PubSub, to a topic of its own, into which
// the record and then each new message are published.
type recorded struct {
	*memory.PubSub
	record *record
	mu     sync.Mutex
	copies map[string]int // subscriptions by topic
}

// record is what was published, by topic.
type record struct {
	mu   sync.Mutex
	msgs map[string][]*message.Message
}

func newRecord() *record { return &record{msgs: map[string][]*message.Message{}} }

func newRecorded(opts memory.Options, r *record) *recorded {
	return &recorded{PubSub: memory.New(opts), record: r, copies: map[string]int{}}
}

func (r *recorded) Publish(topic string, msgs ...*message.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.record.mu.Lock()
	for _, msg := range msgs {
		r.record.msgs[topic] = append(r.record.msgs[topic], msg.CopyWithContext())
	}
	r.record.mu.Unlock()
	for i := range r.copies[topic] {
		if err := r.forward(topic, i, msgs); err != nil {
			return err
		}
	}
	return nil
}

func (r *recorded) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.copies[topic]
	r.copies[topic]++
	msgs, err := r.PubSub.Subscribe(ctx, fmt.Sprint(topic, "#", i))
	if err != nil {
		return nil, err
	}
	r.record.mu.Lock()
	old := r.record.msgs[topic]
	r.record.mu.Unlock()
	return msgs, r.forward(topic, i, old)
}

func (r *recorded) forward(topic string, i int, msgs []*message.Message) error {
	fresh := make([]*message.Message, len(msgs))
	for j, msg := range msgs {
		fresh[j] = msg.CopyWithContext()
	}
	return r.PubSub.Publish(fmt.Sprint(topic, "#", i), fresh...)
}

// suiteOptions has room for the suite's 10,000 messages before the first
// subscriber reads, and for its hundreds of nacks of one message.
func suiteOptions() memory.Options {
	return memory.Options{
		QueueSize:       16384,
		MaxRedeliveries: 1000,
		InitialBackoff:  time.Millisecond,
		MaxBackoff:      2 * time.Millisecond,
	}
}

// features: a message that was acked never comes again, which is what the
// suite means by exactly once; nothing outlives the PubSub.
func features() tests.Features {
	return tests.Features{
		ExactlyOnceDelivery:   true,
		GuaranteedOrder:       true,
		RequireSingleInstance: true,
	}
}

func constructor(opts memory.Options) tests.PubSubConstructor {
	return func(*testing.T) (message.Publisher, message.Subscriber) {
		ps := newRecorded(opts, newRecord())
		return ps, ps
	}
}

func TestWatermillSuite(t *testing.T) {
	t.Parallel()
	tests.TestPubSub(t, features(), constructor(suiteOptions()), nil)
}

func TestWatermillSuiteHandOver(t *testing.T) {
	t.Parallel()
	opts := suiteOptions()
	opts.HandOver = true
	tests.TestPubSub(t, features(), constructor(opts), nil)
}

func TestWatermillSuitePreserveContext(t *testing.T) {
	t.Parallel()
	opts := suiteOptions()
	opts.PreserveContext = true
	f := features()
	f.ContextPreserved = true
	tests.TestPubSub(t, f, constructor(opts), nil)
}

func TestWatermillStress(t *testing.T) {
	t.Parallel()
	tests.TestPubSubStressTest(t, features(), constructor(suiteOptions()), nil)
}

// The suite leaves this one out for ExactlyOnceDelivery. It opens the same
// topic through one instance after the other, so they share a record.
func TestWatermillConcurrentClose(t *testing.T) {
	t.Parallel()
	f := features()
	f.ExactlyOnceDelivery = false
	shared := newRecord()
	tests.TestConcurrentClose(t, tests.TestContext{TestID: tests.NewTestID(), Features: f},
		func(*testing.T) (message.Publisher, message.Subscriber) {
			ps := newRecorded(suiteOptions(), shared)
			return ps, ps
		})
}

// This one subscribes first, so it needs no record.
func TestWatermillMessageCtx(t *testing.T) {
	t.Parallel()
	tests.TestMessageCtx(t, tests.TestContext{TestID: tests.NewTestID(), Features: features()},
		func(*testing.T) (message.Publisher, message.Subscriber) {
			ps := memory.New(memory.Options{})
			return ps, ps
		})
}
