package main

import (
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

// wire is a way to join two registries, as often as they like.
type wire struct {
	name string
	// pair returns the half with the ID a, for the registry b, and the half with the ID b, for a.
	pair func(a, b string) (toA, toB *bus.Channel)
	// tied: closing one half ends the other.
	tied bool
	// close releases what the pairs share. May be nil.
	close func() error
}

func wires() []wire {
	inMemory := func(name string, o func() pairing.Options) wire {
		return wire{name: name, tied: true, pair: func(a, b string) (toA, toB *bus.Channel) { return pairing.InMemory(a, b, o()) }}
	}
	return []wire{
		inMemory("memory", func() pairing.Options { return pairing.Options{PubSub: memory.New(memory.Options{HandOver: true})} }),
		inMemory("gochannel", func() pairing.Options { return pairing.Options{} }),
		inMemory("json", func() pairing.Options { return pairing.Options{Codec: bus.JSON} }),
		joined(),
	}
}

// joined has all links share one GoChannel, as processes share a broker.
func joined() wire {
	shared := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
	o := pairing.JoinOptions{Heartbeat: 10 * time.Second} // a lease that a machine with other things to do keeps too
	return wire{name: "join", close: shared.Close, pair: func(a, b string) (toA, toB *bus.Channel) {
		return pairing.Join(shared, shared, b, a, o), pairing.Join(shared, shared, a, b, o)
	}}
}

var silent = slog.New(slog.DiscardHandler)

// newRegistry makes a registry with small bounds, so that they are reached.
func newRegistry(id, router string) *commands.Registry {
	r, err := commands.NewRegistry(commands.Config{
		ID: id, RouterChannel: router, RequestTTL: requestTTL, EventTTL: eventTTL,
		QueueSize: 512, MaxInFlight: 32, MaxBacklog: 128, DedupeKeys: 1 << 14, Logger: silent,
	})
	if err != nil {
		panic(err) // the configuration is wrong
	}
	return r
}
