package peers

import (
	"context"
	"fmt"
)

// Peer calls math.add in one way. Call is safe for concurrent use if Setup.Callers was above 1. Close stops all that
// the peer started and waits for it; it is called once, after the last Call has returned.
type Peer interface {
	// Call adds two integers on the other side, and fails if the sum is wrong.
	Call(ctx context.Context) error
	Close()
}

// Setup says what to measure. The zero value is a small request, one caller, one hop.
type Setup struct {
	// Payload is the size of the encoded request in bytes. Default and minimum 32.
	Payload int
	// Hops is the number of boundaries between the caller and the handler. Default 1.
	Hops int
	// Callers is how many goroutines call at once. Default 1.
	Callers int
}

func (s Setup) withDefaults() Setup {
	s.Payload = max(s.Payload, minPayload)
	s.Hops = max(s.Hops, 1)
	s.Callers = max(s.Callers, 1)
	return s
}

// Kind is a way to call, by name.
type Kind struct {
	Name  string
	About string
	// Relays is set where the peer can put more than one hop between caller and handler.
	Relays bool
	// Make starts the peer.
	Make func(Setup) (Peer, error)
}

// All returns the kinds, in the order in which tables show them.
func All() []Kind {
	return []Kind{
		{"channels", "two unbuffered Go channels; Go values", true, Channels},
		{"channels+json", "the same, JSON both ways", true, ChannelsJSON},
		{"eventbus", "asaskevich/EventBus, on the caller's goroutine; Go values", false, EventBus},
		{"cskr-pubsub", "cskr/pubsub, a topic for requests and a channel for the reply; Go values", false, CskrPubSub},
		{"protoactor", "asynkron/protoactor-go, a request to an actor; Go values", false, ProtoActor},
		{"leat-local", "leat, the handler in the same registry; Go values", false, LeatLocal},
		{"leat-memory", "leat, a pair over bus/memory", true, LeatMemory},
		{"leat-memory-json", "the same where the two sides have types of their own: JSON both ways", true, LeatMemoryJSON},
		{"leat-memory-raw", "the same with ExecuteRaw and RegisterRaw: bytes pass undecoded", true, LeatMemoryRaw},
		{"leat-gochannel", "leat, a pair over GoChannel", true, LeatGoChannel},
		{"gochannel", "bare GoChannel: two publishes and acks, metadata as leat's", true, GoChannel},
		{"requestreply", "Watermill requestreply over GoChannel, its Router included", false, RequestReply},
		{"psrpc", "livekit/psrpc, a queue method on its local bus; JSON in protobuf", true, PSRPC},
		{"net-rpc", "net/rpc over net.Pipe, gob", true, NetRPC},
		{"nats-micro", "NATS micro, embedded server, in-process connections", true, NATSMicro},
		{"grpc", "gRPC over bufconn, JSON codec", true, GRPC},
	}
}

// Named returns the kind with that name.
func Named(name string) (Kind, error) {
	for _, k := range All() {
		if k.Name == name {
			return k, nil
		}
	}
	return Kind{}, fmt.Errorf("no peer is named %q", name)
}
