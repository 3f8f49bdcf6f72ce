package main

import (
	"context"
	"errors"

	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// newClient returns a registry on the other end of the link. It has no
// Router: its channel subscribes by itself. Commands that it does not know
// escalate to the shop.
func newClient(ctx context.Context, pubsub *gochannel.GoChannel) (*commands.Registry, error) {
	registry, err := commands.NewRegistry(commands.Config{ID: "client", RouterChannel: "shop"})
	if err != nil {
		return nil, err
	}
	link, err := registry.RegisterChannel(ctx, &bus.Channel{
		ID:         "shop",
		Publisher:  pubsub,
		Out:        toShop,
		Subscriber: pubsub,
		In:         toClient,
	})
	if err != nil {
		return nil, err
	}
	if err := link.WaitReady(ctx); err != nil {
		return nil, errors.Join(err, registry.Close())
	}
	return registry, nil
}
