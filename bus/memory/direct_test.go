package memory_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
)

// Messages go to the function directly, or by way of its queue, as others come and go. Nobody is to notice which.
func TestSubscribeFuncKeepsOrderAndCountWhileOthersComeAndGo(t *testing.T) {
	t.Parallel()
	p := newFuncPubSub(t, memory.Options{HandOver: true, QueueSize: 4})
	const publishers, each = 4, 2000
	last := make(map[string]int)
	_, err := p.SubscribeFunc(context.Background(), "t", func(m *message.Message) {
		assert.Equal(t, fmt.Sprint(last[m.UUID]), string(m.Payload))
		last[m.UUID]++
	})
	require.NoError(t, err)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			ctx, cancel := context.WithCancel(context.Background())
			in, err := p.Subscribe(ctx, "t")
			ended, ferr := p.SubscribeFunc(ctx, "t", func(*message.Message) {})
			if !assert.NoError(t, err) || !assert.NoError(t, ferr) {
				cancel()
				return
			}
			select {
			case m := <-in:
				m.Ack()
			case <-stop:
			}
			cancel()
			for m := range in {
				m.Ack()
			}
			<-ended
		}
	}()
	var wg sync.WaitGroup
	for g := range publishers {
		wg.Go(func() {
			for i := range each {
				assert.NoError(t, p.Publish("t", message.NewMessage(fmt.Sprint(g), []byte(fmt.Sprint(i)))))
			}
		})
	}
	wg.Wait()
	close(stop)
	<-stopped
	require.NoError(t, p.Drain(context.Background()))
	for g := range publishers {
		assert.Equal(t, each, last[fmt.Sprint(g)])
	}
}
