package fanout

import (
	"context"
	"sync"

	"github.com/moby/pubsub"
)

// MobyPubSub is moby/pubsub: publishing starts a goroutine per listener, which sends on the listener's buffered channel,
// and waits for all of them. The buffers hold a burst: it drops at a full one.
func MobyPubSub(s Setup) (Fan, error) {
	m := &mobyPubSub{tally: newTally(), listeners: s.Listeners, publisher: pubsub.NewPublisher(0, s.Largest)}
	for range s.Listeners {
		in := m.publisher.Subscribe()
		m.running.Go(func() {
			for e := range in {
				if v, ok := e.(Tick); ok {
					m.tally.value(v)
				}
			}
		})
	}
	return m, nil
}

type mobyPubSub struct {
	tally     *tally
	listeners int
	publisher *pubsub.Publisher
	running   sync.WaitGroup
}

func (m *mobyPubSub) Burst(ctx context.Context, n int) error {
	m.tally.expect(n, m.listeners)
	for i := range n {
		m.publisher.Publish(Tick{i + 1})
	}
	return m.tally.wait(ctx)
}

func (m *mobyPubSub) Close() {
	m.publisher.Close()
	m.running.Wait()
}
