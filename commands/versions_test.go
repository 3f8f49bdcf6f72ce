package commands_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// Two versions of a command's types: the later one has an optional member more in the request, and at a depth, and a member more
// in the result.
type (
	lineV1 struct {
		Item string `json:"item"`
	}
	orderV1 struct {
		Lines []lineV1 `json:"lines"`
	}
	receiptV1 struct {
		Total int `json:"total"`
	}
	lineV2 struct {
		Item   string `json:"item"`
		Colour string `json:"colour,omitempty"`
	}
	orderV2 struct {
		Lines []lineV2 `json:"lines"`
		Gift  bool     `json:"gift,omitempty"`
	}
	receiptV2 struct {
		Total int    `json:"total"`
		ID    string `json:"id"`
	}
)

var (
	tolerant = commands.Options{Tolerant: true}
	placeV1  = commands.Define[orderV1, receiptV1]("order.place", "", tolerant)
	strictV1 = commands.Define[orderV1, receiptV1]("order.place", "")
	placeV2  = commands.Define[orderV2, receiptV2]("order.place", "", tolerant)
	// laterV2 is the command of callers that can do without the new member of the result.
	laterV2 = commands.Define[orderV2, receiptV1]("order.place", "")
)

// TestARollingUpgrade: servers first, or callers first if the servers are tolerant; between two registries, in both directions.
func TestARollingUpgrade(t *testing.T) {
	t.Parallel()
	gift := orderV2{Lines: []lineV2{{Item: "cup", Colour: "blue"}}, Gift: true}
	for name, tc := range map[string]struct {
		serve func(t *testing.T, r *commands.Registry)
		call  func(r *commands.Registry) error
		wants error
		says  string
	}{
		"a new server, an old caller": {serveV2, func(r *commands.Registry) error {
			got, err := commands.Execute(within(t), r, placeV1, orderV1{[]lineV1{{"cup"}}})
			assert.Equal(t, receiptV1{1}, got)
			return err
		}, nil, ""},
		"an old tolerant server, a new caller": {serveV1(placeV1), func(r *commands.Registry) error {
			got, err := commands.Execute(within(t), r, laterV2, gift)
			assert.Equal(t, receiptV1{1}, got)
			return err
		}, nil, ""},
		"an old strict server, a new caller": {serveV1(strictV1), func(r *commands.Registry) error {
			_, err := commands.Execute(within(t), r, laterV2, gift)
			return err
		}, commands.ErrInvalidRequest, `unknown field "lines[0].colour"`},
		"an old server, a caller that needs what is new": {serveV1(placeV1), func(r *commands.Registry) error {
			got, err := commands.Execute(within(t), r, placeV2, orderV2{Lines: []lineV2{{Item: "cup"}}})
			assert.Zero(t, got, "no success with zeros in it")
			return err
		}, commands.ErrInternal, `missing field "id"`},
		"a tolerant server still wants what is required": {serveV1(placeV1), func(r *commands.Registry) error {
			_, err := r.ExecuteRaw(within(t), "order.place", json.RawMessage(`{"lines":[{"colour":"blue"}],"gift":true}`))
			return err
		}, commands.ErrInvalidRequest, `missing field "lines[0].item"`},
	} {
		for _, serverIsRoot := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				root, leaf := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "root"})
				join(t, root, leaf)
				server, caller := root, leaf
				if !serverIsRoot {
					server, caller = leaf, root
				}
				tc.serve(t, server)
				settle(t, root, leaf)
				for _, r := range []*commands.Registry{caller, server} {
					err := tc.call(r)
					if tc.wants == nil {
						require.NoError(t, err)
						continue
					}
					require.ErrorIs(t, err, tc.wants)
					require.ErrorContains(t, err, tc.says)
				}
			})
		}
	}
}

func serveV1(c commands.Command[orderV1, receiptV1]) func(t *testing.T, r *commands.Registry) {
	return func(t *testing.T, r *commands.Registry) {
		require.NoError(t, commands.Register(within(t), r, c, func(_ context.Context, o orderV1) (receiptV1, error) { return receiptV1{len(o.Lines)}, nil }))
	}
}

func serveV2(t *testing.T, r *commands.Registry) {
	require.NoError(t, commands.Register(within(t), r, placeV2, func(_ context.Context, o orderV2) (receiptV2, error) { return receiptV2{len(o.Lines), "7"}, nil }))
}

// TestWhatIsListedSaysThatItIsTolerant: others can see that members which they do not know of are ignored.
func TestWhatIsListedSaysThatItIsTolerant(t *testing.T) {
	t.Parallel()
	assert.NotContains(t, string(placeV1.Definition().Schema.Request), "additionalProperties")
	assert.Contains(t, string(strictV1.Definition().Schema.Request), "additionalProperties")
	assert.Equal(t, string(strictV1.Definition().Schema.Response), string(placeV1.Definition().Schema.Response))
}

// TestAResultByItsOwnSchema: what the type requires does not count where the caller has a schema of its own for it.
func TestAResultByItsOwnSchema(t *testing.T) {
	t.Parallel()
	root, leaf := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "root"})
	join(t, root, leaf)
	require.NoError(t, root.RegisterRaw(within(t), bus.Definition{ID: "order.place"},
		func(context.Context, json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(`{"total":7}`), nil
		}))
	loose := commands.Define[commands.Void, receiptV2]("order.place", "", commands.Options{ResponseSchema: json.RawMessage(`{"type":"object"}`)})
	got, err := commands.Execute(within(t), leaf, loose, commands.Void{})
	require.NoError(t, err)
	assert.Equal(t, receiptV2{Total: 7}, got)
	_, err = commands.Execute(within(t), leaf, commands.Define[commands.Void, receiptV2]("order.place", ""), commands.Void{})
	require.ErrorIs(t, err, commands.ErrInternal)
	require.ErrorContains(t, err, `missing field "id"`)
}
