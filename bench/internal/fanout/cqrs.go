package fanout

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/components/cqrs"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
)

// CQRS is Watermill's EventBus and EventProcessor with a Router, over a GoChannel: each listener is an event handler with
// a subscription of its own. Publishing waits for the acks, which come after the handlers, since GoChannel keeps no order otherwise.
func CQRS(s Setup) (Fan, error) {
	c := &cqrsFan{
		tally:     newTally(),
		listeners: s.Listeners,
		pubsub:    gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{}),
	}
	if err := c.start(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

type cqrsFan struct {
	tally     *tally
	listeners int
	pubsub    *gochannel.GoChannel
	bus       *cqrs.EventBus
	router    *message.Router
	ended     chan struct{} // nil until the router runs
}

func (c *cqrsFan) start() (err error) {
	c.bus, err = cqrs.NewEventBusWithConfig(c.pubsub, cqrs.EventBusConfig{
		GeneratePublishTopic: func(cqrs.GenerateEventPublishTopicParams) (string, error) { return "tick", nil },
		Marshaler:            cqrs.JSONMarshaler{},
	})
	if err != nil {
		return err
	}
	if c.router, err = message.NewRouter(message.RouterConfig{}, watermill.NopLogger{}); err != nil {
		return err
	}
	processor, err := cqrs.NewEventProcessorWithConfig(c.router, cqrs.EventProcessorConfig{
		GenerateSubscribeTopic: func(cqrs.EventProcessorGenerateSubscribeTopicParams) (string, error) { return "tick", nil },
		SubscriberConstructor: func(cqrs.EventProcessorSubscriberConstructorParams) (message.Subscriber, error) {
			return c.pubsub, nil
		},
		Marshaler: cqrs.JSONMarshaler{},
	})
	if err != nil {
		return err
	}
	for i := range c.listeners {
		err := processor.AddHandlers(cqrs.NewEventHandler(fmt.Sprintf("listener %d", i), func(_ context.Context, v *Tick) error {
			c.tally.value(*v)
			return nil
		}))
		if err != nil {
			return err
		}
	}
	c.ended = make(chan struct{})
	go func() {
		defer close(c.ended)
		_ = c.router.Run(context.Background())
	}()
	<-c.router.Running()
	return nil
}

func (c *cqrsFan) Burst(ctx context.Context, n int) error {
	c.tally.expect(n, c.listeners)
	for i := range n {
		if err := c.bus.Publish(ctx, &Tick{i + 1}); err != nil {
			return err
		}
	}
	return c.tally.wait(ctx)
}

func (c *cqrsFan) Close() {
	if c.ended != nil {
		_ = c.router.Close()
		<-c.ended
	}
	_ = c.pubsub.Close()
}
