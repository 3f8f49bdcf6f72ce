package memory_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
)

// Guards what publish, receive and ack of a new message allocate, of which
// message.NewMessage is four. The sixteenth of an allocation that a delivery
// costs is rounded away.
func TestAllocations(t *testing.T) {
	for _, c := range []struct {
		name string
		opts memory.Options
		keys int
		want float64
	}{
		{"handed over", memory.Options{HandOver: true}, 0, 4},
		{"handed over, many unacked", memory.Options{HandOver: true, MaxUnacked: 256}, 0, 4},
		{"copied", memory.Options{}, 0, 4 + 1 + 4},
		{"copied with metadata", memory.Options{}, 1, 5 + 3 + 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			ps := memory.New(c.opts)
			defer ps.Close()
			msgs := subscribe(t, ps, "t")
			got := testing.AllocsPerRun(2000, func() {
				msg := newMessage()
				for range c.keys {
					msg.Metadata.Set("k", "v")
				}
				_ = ps.Publish("t", msg)
				(<-msgs).Ack()
			})
			require.LessOrEqual(t, got, c.want)
		})
	}
}
