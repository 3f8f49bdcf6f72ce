package fanout

import (
	"context"
	"sync"

	"github.com/cskr/pubsub/v2"
)

// Channels sends each event on each listener's channel.
func Channels(s Setup) (Fan, error) {
	c := &channels{tally: newTally()}
	for range s.Listeners {
		in := make(chan Tick, s.Largest)
		c.listeners = append(c.listeners, in)
		c.running.Go(func() {
			for v := range in {
				c.tally.value(v)
			}
		})
	}
	return c, nil
}

type channels struct {
	tally     *tally
	listeners []chan Tick
	running   sync.WaitGroup
}

func (c *channels) Burst(ctx context.Context, n int) error {
	c.tally.expect(n, len(c.listeners))
	for i := range n {
		for _, l := range c.listeners {
			l <- Tick{i + 1}
		}
	}
	return c.tally.wait(ctx)
}

func (c *channels) Close() {
	for _, l := range c.listeners {
		close(l)
	}
	c.running.Wait()
}

// CskrPubSub publishes on a topic to which each listener subscribes.
func CskrPubSub(s Setup) (Fan, error) {
	c := &cskrPubSub{tally: newTally(), listeners: s.Listeners, bus: pubsub.New[string, Tick](s.Largest)}
	for range s.Listeners {
		in := c.bus.Sub("tick")
		c.running.Go(func() {
			for v := range in {
				c.tally.value(v)
			}
		})
	}
	return c, nil
}

type cskrPubSub struct {
	tally     *tally
	listeners int
	bus       *pubsub.PubSub[string, Tick]
	running   sync.WaitGroup
}

func (c *cskrPubSub) Burst(ctx context.Context, n int) error {
	c.tally.expect(n, c.listeners)
	for i := range n {
		c.bus.Pub(Tick{i + 1}, "tick")
	}
	return c.tally.wait(ctx)
}

func (c *cskrPubSub) Close() {
	c.bus.Shutdown()
	c.running.Wait()
}
