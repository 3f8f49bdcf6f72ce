package main

import (
	"context"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// The topics of the link, one for each direction.
const (
	toShop   = "rpc.to-shop"
	toClient = "rpc.to-client"
)

// quote is what both ends share. In a program of several parts it would live
// in a package of its own.
func quote() commands.Command[order, int] {
	return commands.Define[order, int]("shop.quote", "Price of an order in cents")
}

// snippet: rpc

// addRPC is all that the shop needs: a registry, a channel, a handler. Call
// it before the Router runs.
func (s *shop) addRPC(ctx context.Context) (*commands.Registry, error) {
	registry, err := commands.NewRegistry(commands.Config{ID: "shop"})
	if err != nil {
		return nil, err
	}
	err = commands.Register(ctx, registry, quote(), func(_ context.Context, o order) (int, error) {
		cents, err := price(o)
		if err != nil {
			return 0, commands.Errorf(commands.InvalidRequest, "%w", err)
		}
		return cents, nil
	})
	if err != nil {
		return nil, err
	}
	// No Subscriber: the Router receives, and Deliver is its handler. So the
	// Router's middleware sees the messages that come in.
	link, err := registry.RegisterChannel(ctx, &bus.Channel{ID: "client", Publisher: s.pubsub, Out: toClient})
	if err != nil {
		return nil, err
	}
	s.router.AddConsumerHandler("rpc", toShop, s.pubsub, link.Deliver)
	return registry, nil
}

// end snippet
