package peers

import (
	"context"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/components/cqrs"
	"github.com/ThreeDotsLabs/watermill/components/requestreply"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
)

// RequestReply is Watermill's own request and reply, over a GoChannel, with a Router that runs the handler.
//
// Its GoChannel does not wait for acks in Publish, as leat's does: if it did, the subscription that each call makes and
// drops could wait for a publish that waits for a handler whose reply waits for that subscription. Each call has a
// reply topic of its own, so that no caller is woken by another's reply.
func RequestReply(s Setup) (Peer, error) {
	s = s.withDefaults()
	r := &requestReply{
		request: request(s.Payload),
		pubsub:  gochannel.NewGoChannel(gochannel.Config{}, watermill.NopLogger{}),
	}
	if err := r.start(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

type requestReply struct {
	request Sum
	pubsub  *gochannel.GoChannel
	router  *message.Router
	ended   chan struct{}
	backend *requestreply.PubSubBackend[int]
	bus     *cqrs.CommandBus
}

func (r *requestReply) start() (err error) {
	r.backend, err = requestreply.NewPubSubBackend(requestreply.PubSubBackendConfig{
		Publisher: r.pubsub,
		SubscriberConstructor: func(requestreply.PubSubBackendSubscribeParams) (message.Subscriber, error) {
			return r.pubsub, nil
		},
		GeneratePublishTopic: func(p requestreply.PubSubBackendPublishParams) (string, error) {
			return "replies." + string(p.OperationID), nil
		},
		GenerateSubscribeTopic: func(p requestreply.PubSubBackendSubscribeParams) (string, error) {
			return "replies." + string(p.OperationID), nil
		},
	}, requestreply.BackendPubsubJSONMarshaler[int]{})
	if err != nil {
		return err
	}
	r.bus, err = cqrs.NewCommandBusWithConfig(r.pubsub, cqrs.CommandBusConfig{
		GeneratePublishTopic: func(cqrs.CommandBusGeneratePublishTopicParams) (string, error) { return "math.add", nil },
		Marshaler:            cqrs.JSONMarshaler{},
	})
	if err != nil {
		return err
	}
	return r.serve()
}

func (r *requestReply) serve() error {
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	processor, err := cqrs.NewCommandProcessorWithConfig(router, cqrs.CommandProcessorConfig{
		GenerateSubscribeTopic: func(cqrs.CommandProcessorGenerateSubscribeTopicParams) (string, error) { return "math.add", nil },
		SubscriberConstructor: func(cqrs.CommandProcessorSubscriberConstructorParams) (message.Subscriber, error) {
			return r.pubsub, nil
		},
		Marshaler: cqrs.JSONMarshaler{},
	})
	if err != nil {
		return err
	}
	err = processor.AddHandlers(requestreply.NewCommandHandlerWithResult("math.add", r.backend,
		func(ctx context.Context, s *Sum) (int, error) { return add(ctx, *s) }))
	if err != nil {
		return err
	}
	r.router, r.ended = router, make(chan struct{})
	go func() {
		defer close(r.ended)
		_ = router.Run(context.Background())
	}()
	<-router.Running()
	return nil
}

func (r *requestReply) Call(ctx context.Context) error {
	reply, err := requestreply.SendWithReply[int](ctx, r.bus, r.backend, &r.request)
	if err != nil {
		return err
	}
	return check(reply.HandlerResult, reply.Error)
}

func (r *requestReply) Close() {
	if r.router != nil {
		_ = r.router.Close()
		<-r.ended
	}
	_ = r.pubsub.Close()
}
