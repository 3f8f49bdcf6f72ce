package chaostest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leatbus/leat/pairing/chaostest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a publisher that remembers the order in which it was given
// messages, by topic.
type recorder struct {
	before func(topic string, m *message.Message) error // nil: nothing; what it refuses is not recorded

	mu     sync.Mutex
	got    map[string][]string // guarded by mu: UUIDs
	closes int                 // guarded by mu
}

var errClose = errors.New("recorder closed")

func (r *recorder) Publish(topic string, msgs ...*message.Message) error {
	for _, m := range msgs {
		if r.before != nil {
			if err := r.before(topic, m); err != nil {
				return err
			}
		}
		r.mu.Lock()
		if r.got == nil {
			r.got = make(map[string][]string)
		}
		r.got[topic] = append(r.got[topic], m.UUID)
		r.mu.Unlock()
	}
	return nil
}

func (r *recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closes++
	return errClose
}

func (r *recorder) received(topic string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.got[topic]...)
}

// publish publishes messages whose UUIDs are the numbers from first to last.
func publish(t testing.TB, p message.Publisher, topic string, first, last int) {
	t.Helper()
	for i := first; i <= last; i++ {
		require.NoError(t, p.Publish(topic, message.NewMessage(fmt.Sprint(i), nil)))
	}
}

func numbers(first, last int) []string {
	var all []string
	for i := first; i <= last; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// closed closes p and checks that everything is accounted for.
func closed(t testing.TB, p *chaostest.Publisher) chaostest.Stats {
	t.Helper()
	require.ErrorIs(t, p.Close(), errClose)
	s := p.Stats()
	require.Zero(t, s.Held)
	require.Equal(t, s.Published+s.Copied, s.Delivered+s.Dropped+s.Lost+s.Failed, "%+v", s)
	return s
}

func message1(ctx context.Context, uuid string) *message.Message {
	m := message.NewMessage(uuid, []byte("payload"))
	m.SetContext(ctx)
	m.Metadata.Set("key", "value")
	return m
}
