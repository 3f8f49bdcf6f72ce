package brokers_test

import (
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Metadata comes as it was, or the message is refused: whatever the keys are.
func TestMetadataKeys(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		b := k.open(t)
		topic := b.Topic("keys")
		in, err := b.Subscriber().Subscribe(t.Context(), topic)
		require.NoError(t, err)
		long := strings.Repeat("k", 256)
		for _, md := range []message.Metadata{
			{"": "no key", "tenant": "acme"},
			{strings.Repeat("k", 255): "long"},
			{long: "longer", long + "1": "longest", "": ""},
			{" a:b ": "c", "%41": "%41", "Case": "1", "case": "2"},
		} {
			published := make(chan error, 1)
			m := message.NewMessage("", []byte("{}"))
			m.Metadata = md
			go func() { published <- b.Publisher().Publish(topic, m) }() // some wait for the ack
			select {
			case got := <-in:
				assert.Equal(t, md, got.Metadata)
				got.Ack()
				require.NoError(t, <-published)
			case err := <-published:
				if err == nil {
					got := <-in
					assert.Equal(t, md, got.Metadata)
					got.Ack()
					continue
				}
				require.Contains(t, md, long, "%v", err)
			}
		}
	})
}
