package brokers

import (
	"context"

	"github.com/leatbus/leat/pairing/fleet"
)

// Fleet is [fleet.New] over this broker: the process's part in a fleet of
// many, as one channel of its registry. Where the options are silent it fills in
// the Namespace that Open was given (without one there, and here, it is an error: programs that do not know of each
// other are no fleet), the Keys of Open, Topic, the Logger, and Queue where
// Guarantees().Durable, so that the process can serve durable commands.
//
//	f, err := b.Fleet(ctx, fleet.Options{Namespace: "shop", ID: "worker-1"})
//	link, err := registry.RegisterChannel(ctx, f.Channel())
//
// A connection that breaks on a backend that keeps nothing meanwhile (NATS core)
// costs the calls that were under way between this process and the others: they fail, or are sent elsewhere,
// when it is back. Elsewhere they go on. Close the fleet, or its registry, before the broker.
func (b *Broker) Fleet(ctx context.Context, o fleet.Options) (*fleet.Fleet, error) {
	if o.Namespace == "" && b.named {
		o.Namespace = b.opts.Namespace
	}
	if o.Keys == nil {
		o.Keys = b.opts.Keys
	}
	if o.Topic == nil {
		o.Topic = b.Topic
	}
	if o.Logger == nil {
		o.Logger = b.log
	}
	if o.Queue == nil && b.Guarantees().Durable {
		o.Queue = b.Queue
	}
	return fleet.New(ctx, b.Publisher(), subscriber{b: b, lossless: true}, o)
}
