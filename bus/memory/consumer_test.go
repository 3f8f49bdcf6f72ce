package memory_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
)

func newFuncPubSub(t *testing.T, o memory.Options) *memory.PubSub {
	p := memory.New(o)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func TestSubscribeFuncRunsOnThePublishersGoroutine(t *testing.T) {
	t.Parallel()
	p := newFuncPubSub(t, memory.Options{HandOver: true})
	var got *message.Message
	_, err := p.SubscribeFunc(context.Background(), "t", func(m *message.Message) { got = m }) // no lock: same goroutine
	require.NoError(t, err)
	type key struct{}
	m := message.NewMessageWithContext(context.WithValue(context.Background(), key{}, 1), "1", nil)
	require.NoError(t, p.Publish("t", m))
	assert.Same(t, m, got, "handed over")
	assert.Equal(t, 1, got.Context().Value(key{}), "with its context")
	s := p.Stats()
	assert.EqualValues(t, 1, s.Acked)
	assert.Zero(t, s.Queued)
}

func TestSubscribeFuncKeepsTheOrderOfEachPublisherAndRunsOneAtATime(t *testing.T) {
	t.Parallel()
	p := newFuncPubSub(t, memory.Options{QueueSize: 8})
	const publishers, each = 8, 500
	var running atomic.Int32
	last := make(map[string]int)
	all := make(chan struct{})
	n := 0
	_, err := p.SubscribeFunc(context.Background(), "t", func(m *message.Message) {
		assert.EqualValues(t, 1, running.Add(1))
		defer running.Add(-1)
		assert.Equal(t, fmt.Sprint(last[m.UUID]), string(m.Payload))
		last[m.UUID]++
		if n++; n == publishers*each {
			close(all)
		}
	})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for g := range publishers {
		wg.Go(func() {
			for i := range each {
				assert.NoError(t, p.Publish("t", message.NewMessage(fmt.Sprint(g), []byte(fmt.Sprint(i)))))
			}
		})
	}
	wg.Wait()
	<-all
	require.NoError(t, p.Drain(context.Background()))
	assert.EqualValues(t, publishers*each, p.Stats().Acked)
}

func TestSubscribeFuncIsBounded(t *testing.T) {
	t.Parallel()
	p := newFuncPubSub(t, memory.Options{QueueSize: 2, WhenFull: memory.Fail})
	began, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	_, err := p.SubscribeFunc(context.Background(), "t", func(*message.Message) {
		once.Do(func() { close(began); <-release })
	})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- p.Publish("t", message.NewMessage("0", nil)) }()
	<-began
	accepted := 0
	for err = nil; err == nil; accepted++ {
		err = p.Publish("t", message.NewMessage("1", nil))
		require.Less(t, accepted, 5)
	}
	require.ErrorIs(t, err, memory.ErrFull)
	assert.Equal(t, accepted-1, p.Stats().Queued)
	close(release)
	require.NoError(t, <-done)
	require.NoError(t, p.Drain(context.Background()))
}

func TestSubscribeFuncEndsWithItsContextAndWithClose(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"context", "close"} {
		p := newFuncPubSub(t, memory.Options{})
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		began, release := make(chan struct{}), make(chan struct{})
		var runs atomic.Int32
		ended, err := p.SubscribeFunc(ctx, "t", func(*message.Message) {
			if runs.Add(1) == 1 {
				close(began)
				<-release
			}
		})
		require.NoError(t, err)
		published := make(chan struct{})
		go func() { _ = p.Publish("t", message.NewMessage("1", nil)); close(published) }()
		<-began
		require.NoError(t, p.Publish("t", message.NewMessage("2", nil)), "it waits")
		closed := make(chan struct{})
		go func() {
			if how == "close" {
				_ = p.Close()
			} else {
				cancel()
			}
			close(closed)
		}()
		if how == "context" {
			<-closed
		}
		select {
		case <-ended:
			require.Fail(t, "ended while the function runs")
		default:
		}
		close(release)
		<-ended
		<-published
		<-closed
		if runs.Load() == 1 {
			assert.EqualValues(t, 1, p.Stats().Abandoned, "what waited is counted")
		}
	}
	p := memory.New(memory.Options{})
	require.NoError(t, p.Close())
	_, err := p.SubscribeFunc(context.Background(), "t", func(*message.Message) {})
	require.ErrorIs(t, err, memory.ErrClosed)
}

func TestSubscribeFuncBesideOtherSubscriptions(t *testing.T) {
	t.Parallel()
	p := newFuncPubSub(t, memory.Options{HandOver: true})
	var a, b *message.Message
	for _, to := range []**message.Message{&a, &b} {
		_, err := p.SubscribeFunc(context.Background(), "t", func(m *message.Message) { *to = m })
		require.NoError(t, err)
	}
	out, err := p.Subscribe(context.Background(), "t")
	require.NoError(t, err)
	m := message.NewMessage("1", []byte("x"))
	m.Metadata.Set("k", "v")
	require.NoError(t, p.Publish("t", m))
	c := <-out
	c.Ack()
	for _, got := range []*message.Message{a, b, c} {
		assert.True(t, m.Equals(got))
		assert.NotSame(t, m, got, "each has its own")
	}
	a.Metadata.Set("k", "changed")
	assert.Equal(t, "v", b.Metadata.Get("k"))
}
