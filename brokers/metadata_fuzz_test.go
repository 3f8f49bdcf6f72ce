package brokers

import (
	"bytes"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
)

// FuzzUnpack: whatever another program publishes is read or refused, and what is packed here comes back.
func FuzzUnpack(f *testing.F) {
	m := message.NewMessage("id", []byte("payload"))
	m.Metadata = message.Metadata{"": "", "k": "v\xff"}
	f.Add(pack(m))
	f.Add(packTogether([]*message.Message{m, m}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		one := message.NewMessage("", bytes.Clone(data))
		if unpack(one, packedVersion) == nil {
			requireSame(t, one, []*message.Message{one})
		}
		all, err := unpackTogether(data)
		require.LessOrEqual(t, len(all), len(data))
		if err == nil {
			for _, m := range all {
				requireSame(t, m, []*message.Message{m})
			}
		}
	})
}

func requireSame(t *testing.T, want *message.Message, messages []*message.Message) {
	got, err := unpackTogether(packTogether(messages))
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, want.UUID, got[0].UUID)
	require.Equal(t, want.Metadata, got[0].Metadata)
	require.Equal(t, string(want.Payload), string(got[0].Payload))
	require.LessOrEqual(t, len(packTogether(messages)), packedBytes(want))
}
