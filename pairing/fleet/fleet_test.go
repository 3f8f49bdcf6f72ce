package fleet_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/fleet"
	"github.com/leatbus/leat/pairing/pairingtest"
)

// prompt publishes at once, every other time.
type prompt struct {
	*memory.PubSub
	asked atomic.Uint64
}

func (p *prompt) PublishAtOnce(topic string, messages ...*message.Message) error {
	if p.asked.Add(1)%2 == 0 {
		return errors.New("busy")
	}
	return p.Publish(topic, messages...)
}

func TestFleetConforms(t *testing.T) {
	t.Parallel()
	for name, shared := range map[string]pairing.PubSub{
		"memory":    memory.New(memory.Options{}),
		"gochannel": gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{}),
		"prompt":    &prompt{PubSub: memory.New(memory.Options{})},
		"keys":      &prompt{PubSub: memory.New(memory.Options{})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { require.NoError(t, shared.Close()) })
			var o fleet.Options
			if name == "keys" {
				o.Keys = [][]byte{[]byte("a key that all processes know"), []byte("an older one of them")}
			}
			pairingtest.RunFleet(t, func(testing.TB) (message.Publisher, message.Subscriber, fleet.Options) {
				return shared, shared, o
			}, pairingtest.Features{Ordered: true})
		})
	}
}
