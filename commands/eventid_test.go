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
		buses := append(madeIDs(t, "one", 2), madeIDs(t, "two", 1)...)
		others := append([]string{"1", bus.NewID(), "11111111-1111-8111-8111-111111111111"}, buses...)
		for round := range 2 {
			if round == 1 {
				others = others[:3] // the rest are a bus's
				for _, id := range buses {
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

// madeIDs returns the IDs that another registry gives its events.
func madeIDs(t *testing.T, name string, n int) (ids []string) {
	r := newRegistry(t, commands.Config{ID: name})
	peer := meet(t, r, "peer", bus.CanCancel)
	for range n {
		require.NoError(t, r.Events().EmitRaw(t.Context(), "e", nil))
		ids = append(ids, peer.wants(bus.Event).ID)
	}
	return ids
}
