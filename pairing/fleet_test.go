package pairing_test

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/pairingtest"
)

func TestFleetConforms(t *testing.T) {
	t.Parallel()
	for name, shared := range map[string]pairing.PubSub{
		"memory":    memory.New(memory.Options{}),
		"gochannel": gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { require.NoError(t, shared.Close()) })
			pairingtest.RunFleet(t, func(testing.TB) (message.Publisher, message.Subscriber, pairing.FleetOptions) {
				return shared, shared, pairing.FleetOptions{}
			}, pairingtest.Features{Ordered: true})
		})
	}
}
