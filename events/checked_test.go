package events_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/pairing"
)

// What EmitRaw refuses is refused from a peer too: rejected, counted, and not relayed.
func TestRule20EventsOfPeersAreCheckedAsOwnOnesAre(t *testing.T) {
	t.Parallel()
	bad := []struct{ id, body string }{
		{"a.*", "1"}, {">", "1"}, {"a..b", "1"}, {".", ""}, {"a.", ""}, {".a", ""}, {"a*", "1"}, {"\xff", "1"}, {"a.\xc3\x28", "1"},
		{"a", "{{{"}, {"a", "\"\xff\""}, {"a", "1 2"}, {"a", "{\"a\":1,\"a\":2}"}, {"a", "tru"}, {"a", " "},
	}
	for name, codec := range map[string]bus.Codec{"parcels": nil, "JSON": bus.JSON} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hub, b := newHub(t, bus.Options{ID: "hub"})
			_, peer := newHub(t, bus.Options{ID: "peer"})
			far, farBus := newHub(t, bus.Options{ID: "far"})
			here, there := join(t, b, peer, pairing.Options{Codec: codec})
			out, _ := join(t, b, farBus)
			heard, beyond := record(t, hub, ">"), record(t, far, ">")
			refused := 0
			for _, c := range bad {
				require.Error(t, hub.EmitRaw(within(t), c.id, json.RawMessage(c.body)), "%q %q", c.id, c.body)
				e := bus.Envelope{ID: "the same", Type: bus.Event, Name: c.id}
				if c.body != "" {
					e.Body = json.RawMessage(c.body)
				}
				if there.Send(e) == nil {
					refused++
				}
			}
			require.NoError(t, there.Send(bus.Envelope{ID: "the same", Type: bus.Event, Name: "a.b", Body: json.RawMessage("1")}))
			require.NoError(t, there.Flush(within(t)))
			require.NoError(t, out.Flush(within(t)))
			require.NoError(t, hub.Flush(within(t)))
			require.NoError(t, far.Flush(within(t)))
			assert.Equal(t, []string{"a.b1"}, heard.all(), "the ID is not used up by what was refused")
			assert.Equal(t, []string{"a.b1"}, beyond.all())
			assert.EqualValues(t, refused, here.Stats().Rejected)
			assert.Positive(t, refused)
			assert.EqualValues(t, 1, hub.Stats().Received)
		})
	}
}
