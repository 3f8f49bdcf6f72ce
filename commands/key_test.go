package commands_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// TestKeyAndIdempotentTravel: what a call is about, and that it may be repeated, is on the envelope that arrives, over
// a relay too, and not on those of calls that its handler makes.
func TestKeyAndIdempotentTravel(t *testing.T) {
	t.Parallel()
	type trait struct {
		key        string
		idempotent bool
	}
	got := make(chan trait, 4)
	spy := func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			if d, ok := bus.DeliveryFrom(m.Context()); ok && d.Envelope.Type == bus.ExecuteRequest {
				got <- trait{d.Envelope.Key, d.Envelope.Idempotent}
			}
			return h(m)
		}
	}
	root := newRegistry(t, commands.Config{ID: "root"})
	mid := newRegistry(t, commands.Config{ID: "mid", RouterChannel: "root"})
	leaf := newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "mid", Inbound: []message.HandlerMiddleware{spy}})
	join(t, root, mid)
	join(t, mid, leaf)
	once := commands.Define[commands.Void, int]("once", "")
	again := commands.Define[commands.Void, int]("again", "", commands.Options{Idempotent: true})
	for _, c := range []commands.Command[commands.Void, int]{once, again} {
		require.NoError(t, commands.Register(t.Context(), leaf, c, func(context.Context, commands.Void) (int, error) { return 1, nil }))
	}
	call := func(ctx context.Context, c commands.Command[commands.Void, int]) trait {
		_, err := commands.Execute(ctx, root, c, commands.Void{})
		require.NoError(t, err)
		return <-got
	}
	require.Equal(t, trait{}, call(t.Context(), once))
	require.Equal(t, trait{"customer 7", true}, call(commands.WithKey(t.Context(), "customer 7"), again))
	require.Equal(t, trait{"b", false}, call(commands.WithKey(commands.WithKey(t.Context(), "a"), "b"), once))

	require.NoError(t, root.RegisterRaw(t.Context(), bus.Definition{ID: "local"}, func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		return root.ExecuteRaw(ctx, "once", nil)
	}))
	_, err := root.ExecuteRaw(commands.WithKey(t.Context(), "a"), "local", nil)
	require.NoError(t, err)
	require.Equal(t, trait{}, <-got)
}
