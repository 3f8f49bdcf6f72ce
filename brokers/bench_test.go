package brokers_test

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// BenchmarkRoundTrip publishes one message and waits until it is back.
func BenchmarkRoundTrip(b *testing.B) {
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			broker := k.open(b)
			topic := broker.Topic("bench")
			in, err := broker.Subscriber().Subscribe(b.Context(), topic)
			require.NoError(b, err)
			payload := []byte(`{"a":1,"b":2}`)
			for b.Loop() {
				m := message.NewMessage(uuid.NewString(), payload)
				m.Metadata.Set("leat-type", "event")
				got := make(chan error, 1)
				go func() { got <- broker.Publisher().Publish(topic, m) }()
				(<-in).Ack()
				require.NoError(b, <-got)
			}
		})
	}
}
