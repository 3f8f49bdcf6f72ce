package brokers

import (
	"context"

	"github.com/leatbus/leat/pairing"
)

// Fleet is [pairing.NewFleet] over this broker: the process's part in a fleet of
// many, as one channel of its registry. Where the options are silent it fills in
// the Namespace that Open was given (without one there, and here, it is an error: programs that do not know of each
// other are no fleet), the Keys of Open, Topic, the MaxMessageBytes that the broker takes, the Logger, and Queue where
// Guarantees().Durable, so that the process can serve durable commands.
//
//	f, err := b.Fleet(ctx, pairing.FleetOptions{Namespace: "shop", ID: "worker-1"})
//	link, err := registry.RegisterChannel(ctx, f.Channel())
//
// A connection that breaks on a backend that keeps nothing meanwhile (NATS core)
// costs the calls that were under way between this process and the others: they fail, or are sent elsewhere,
// when it is back. Elsewhere they go on. Close the fleet, or its registry, before the broker.
func (b *Broker) Fleet(ctx context.Context, o pairing.FleetOptions) (*pairing.Fleet, error) {
	if o.Namespace == "" && b.named {
		o.Namespace = b.opts.Namespace
	}
	if o.Keys == nil {
		o.Keys = b.opts.Keys
	}
	if o.Topic == nil {
		o.Topic = b.Topic
	}
	if limit := b.maxPayload(); o.MaxMessageBytes == 0 || limit > 0 && limit < o.MaxMessageBytes {
		o.MaxMessageBytes = limit
	}
	if o.Logger == nil {
		o.Logger = b.log
	}
	if o.Queue == nil && b.Guarantees().Durable {
		o.Queue = b.Queue
	}
	return pairing.NewFleet(ctx, b.Publisher(), subscriber{b: b, lossless: true}, o)
}

// maxPayload returns how long a payload may be, with room left for metadata; 0
// if there is no need to know: registries take no more than 16 MiB.
func (b *Broker) maxPayload() int {
	limit := b.maxBytes("")
	if limit == 0 || limit >= registryBytes {
		return 0
	}
	return max(limit-metadataRoom, limit/2)
}

// registryBytes is the largest message that a registry takes, in bytes.
const registryBytes = 16 << 20

// metadataRoom is what metadata may take of a message, in bytes.
const metadataRoom = 32 << 10
