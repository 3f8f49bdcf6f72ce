package commands_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// A registry knows its own events by their ID, however long they take to come back, and those of other registries too.
// Of foreign IDs it takes one for a new event after EventTTL, from the peer that has used it before.
func TestRule14AnEventOfItsOwnThatComesBackIsDroppedAtAnyAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const ttl = time.Second
		r := newRegistry(t, commands.Config{ID: "r", EventTTL: ttl})
		peer := meet(t, r, "peer", bus.CanCancel)
		heard := make(chan string, 16)
		_, err := r.Events().ListenRaw("e", func(_ context.Context, _ string, body json.RawMessage) { heard <- string(body) })
		require.NoError(t, err)
		require.NoError(t, r.Events().EmitRaw(t.Context(), "e", json.RawMessage(`0`)))
		own := peer.wants(bus.Event)
		assert.Equal(t, "0", <-heard)
		for range 2 {
			peer.say(own)
			time.Sleep(time.Hour)
		}
		others := []string{"1", bus.NewID(), "11111111-1111-8111-8111-111111111111", "11111111-1111-8111-8111-111111111112", "11111111-1111-8111-9111-111111111111"}
		for round := range 2 {
			if round == 1 {
				others = others[:2] // the rest can be a bus's
				for _, id := range []string{"11111111-1111-8111-8111-111111111111", "11111111-1111-8111-8111-111111111112"} {
					peer.say(bus.Envelope{ID: id, Type: bus.Event, Name: "e", Body: []byte(`1`)})
				}
			}
			for range 2 {
				for _, id := range others {
					peer.say(bus.Envelope{ID: id, Type: bus.Event, Name: "e", Body: []byte(`1`)})
				}
			}
			peer.silent()
			require.NoError(t, r.Events().Flush(t.Context()))
			assert.Len(t, heard, len(others))
			for range others {
				<-heard
			}
			time.Sleep(ttl)
		}
	})
}
