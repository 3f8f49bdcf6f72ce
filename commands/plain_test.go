package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
)

// Values whose types share no memory may cross a pair in one process without being encoded. Nobody is to notice.

type note struct {
	N    int     `json:"n"`
	F    float64 `json:"f"`
	Text string  `json:"text"`
	A    [4]int  `json:"a"`
}

// notes is a note to those who have another type of the same form.
type notes struct {
	N    int64   `json:"n"`
	F    float64 `json:"f"`
	Text string  `json:"text"`
	A    []int   `json:"a"`
}

var echoNote = commands.Define[note, note]("echo", "")

func echo[T any](_ context.Context, v T) (T, error) { return v, nil }

// overPairs runs a test for each way to pair two registries.
func overPairs(t *testing.T, test func(t *testing.T, opts func() pairing.Options)) {
	for _, p := range pairings {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			test(t, p.make)
		})
	}
}

func TestTypedAndRawCallersAndHandlersMixAcrossAPair(t *testing.T) {
	t.Parallel()
	overPairs(t, func(t *testing.T, opts func() pairing.Options) {
		root, child := family(t)
		join(t, root, child, opts())
		in := note{N: -1, F: 0.5, Text: "<\u2028\x00é", A: [4]int{1, 2, 3, 4}}
		const form = `{"n":-1,"f":0.5,"text":"<\u2028\u0000é","a":[1,2,3,4]}`
		require.NoError(t, commands.Register(within(t), child, echoNote, echo))
		var seen json.RawMessage
		handleFunc(t, child, "raw", func(_ context.Context, req json.RawMessage) (json.RawMessage, error) {
			seen = req
			return req, nil
		})

		got, err := commands.Execute(within(t), root, echoNote, in)
		require.NoError(t, err)
		assert.Equal(t, in, got)
		raw, err := root.ExecuteRaw(within(t), "echo", json.RawMessage(form))
		require.NoError(t, err)
		assert.JSONEq(t, form, string(raw), "a raw caller of a typed handler")
		got, err = commands.Execute(within(t), root, commands.Define[note, note]("raw", ""), in)
		require.NoError(t, err)
		assert.Equal(t, in, got, "a typed caller of a raw handler")
		assert.JSONEq(t, form, string(seen))
		other, err := commands.Execute(within(t), root, commands.Define[notes, notes]("echo", ""), notes{N: -1, F: 0.5, Text: in.Text, A: in.A[:]})
		require.NoError(t, err)
		assert.Equal(t, notes{N: -1, F: 0.5, Text: in.Text, A: []int{1, 2, 3, 4}}, other, "other types of the same form")

		_, err = commands.Execute(within(t), root, commands.Define[struct{ N int }, note]("echo", ""), struct{ N int }{})
		assert.ErrorIs(t, err, commands.ErrInvalidRequest, "a type of another form")
		type wide struct {
			N    string  `json:"n"`
			F    float64 `json:"f"`
			Text string  `json:"text"`
			A    [4]int  `json:"a"`
		}
		_, err = commands.Execute(within(t), root, commands.Define[note, wide]("echo", ""), in)
		assert.ErrorContains(t, err, "the result does not fit")
	})
}

func TestARequestSchemaHoldsForPlainValues(t *testing.T) {
	t.Parallel()
	overPairs(t, func(t *testing.T, opts func() pairing.Options) {
		root, child := family(t)
		join(t, root, child, opts())
		strict := commands.Define[note, note]("strict", "", commands.Options{RequestSchema: json.RawMessage(
			`{"type":"object","properties":{"n":{"maximum":9}}}`)})
		require.NoError(t, commands.Register(within(t), child, strict, echo))
		_, err := commands.Execute(within(t), root, strict, note{N: 9})
		require.NoError(t, err)
		_, err = commands.Execute(within(t), root, strict, note{N: 10})
		assert.ErrorIs(t, err, commands.ErrInvalidRequest)
		_, err = commands.Execute(within(t), child, strict, note{N: 10})
		assert.ErrorIs(t, err, commands.ErrInvalidRequest, "locally too")
	})
}

func TestValuesWithoutAJSONFormAreRefusedAcrossAPair(t *testing.T) {
	t.Parallel()
	overPairs(t, func(t *testing.T, opts func() pairing.Options) {
		root, child := family(t)
		join(t, root, child, opts())
		var bad atomic.Pointer[note]
		bad.Store(&note{})
		require.NoError(t, commands.Register(within(t), child, echoNote, func(context.Context, note) (note, error) { return *bad.Load(), nil }))
		tick := events.Define[note]("tick")
		for _, v := range []note{{F: math.NaN()}, {F: math.Inf(-1)}, {Text: "a\xffb"}} {
			_, err := commands.Execute(within(t), root, echoNote, v)
			require.ErrorIs(t, err, commands.ErrInvalidRequest)
			assert.ErrorContains(t, err, "the request does not encode: ")
			bad.Store(&v)
			_, err = commands.Execute(within(t), root, echoNote, note{})
			require.ErrorIs(t, err, commands.ErrInternal)
			assert.ErrorContains(t, err, "the handler's result does not encode: ")
			assert.ErrorContains(t, events.Emit(within(t), root.Events(), tick, v), `emit "tick"`)
		}
	})
}

func TestRule20WhatIsTooLargeFailsTheCallOnEitherSide(t *testing.T) {
	t.Parallel()
	const limit = 4096
	long, fits := strings.Repeat("x", limit), strings.Repeat("é", limit/2-100)
	escaped := strings.Repeat("\x01", limit/2) // six times as long in JSON
	overPairs(t, func(t *testing.T, opts func() pairing.Options) {
		for _, c := range []struct{ root, child int }{{limit, 0}, {0, limit}, {limit, limit}} {
			t.Run(fmt.Sprint(c), func(t *testing.T) {
				root := newRegistry(t, commands.Config{ID: "root", MaxMessageBytes: c.root, RequestTTL: patience})
				child := newRegistry(t, commands.Config{ID: "child", RouterChannel: "root", MaxMessageBytes: c.child, RequestTTL: patience})
				join(t, root, child, opts())
				require.NoError(t, commands.Register(within(t), child, echoNote, echo))
				grow := commands.Define[int, note]("grow", "")
				texts := []string{fits, long, escaped}
				require.NoError(t, commands.Register(within(t), child, grow, func(_ context.Context, i int) (note, error) { return note{Text: texts[i]}, nil }))
				for i, text := range texts {
					_, err := commands.Execute(within(t), root, echoNote, note{Text: text})
					_, grown := commands.Execute(within(t), root, grow, i)
					if i == 0 {
						require.NoError(t, err)
						require.NoError(t, grown)
						continue
					}
					assert.ErrorIs(t, err, commands.ErrInvalidRequest)
					assert.ErrorContains(t, err, "too large")
					assert.ErrorIs(t, grown, commands.ErrInternal)
					assert.ErrorContains(t, grown, "too large")
				}
			})
		}
	})
}

func TestMiddlewareSeesTheJSONOfPlainValues(t *testing.T) {
	t.Parallel()
	overPairs(t, func(t *testing.T, opts func() pairing.Options) {
		var mu sync.Mutex
		seen := map[string][]string{}
		notes := func(where string, want bus.Type) message.HandlerMiddleware {
			return func(h message.HandlerFunc) message.HandlerFunc {
				return func(m *message.Message) ([]*message.Message, error) {
					if d, _ := bus.DeliveryFrom(m.Context()); want == "" || d.Envelope.Type == want {
						mu.Lock()
						seen[where] = append(seen[where], string(m.Payload))
						mu.Unlock()
					}
					return h(m)
				}
			}
		}
		// Each registry has one kind.
		root := newRegistry(t, commands.Config{ID: "root", Inbound: []message.HandlerMiddleware{notes("reply", bus.ExecuteResponse)}})
		child := newRegistry(t, commands.Config{ID: "child", RouterChannel: "root", Middleware: []message.HandlerMiddleware{notes("run", "")}})
		join(t, root, child, opts())
		require.NoError(t, commands.Register(within(t), child, echoNote, echo))
		in := note{N: 7, Text: "hi"}
		got, err := commands.Execute(within(t), root, echoNote, in)
		require.NoError(t, err)
		assert.Equal(t, in, got)
		_, err = commands.Execute(within(t), child, echoNote, in)
		require.NoError(t, err)
		const form = `{"n":7,"f":0,"text":"hi","a":[0,0,0,0]}`
		mu.Lock()
		defer mu.Unlock()
		assert.Equal(t, []string{form, form}, seen["run"])
		if len(seen["reply"]) == 1 && seen["reply"][0] != form { // canonical
			assert.Contains(t, seen["reply"][0], `"result":`+form)
			return
		}
		assert.Equal(t, []string{form}, seen["reply"])
	})
}

// Whoever has a value may do with it what he likes: all others have their own.
func TestAPlainValueIsEverybodysOwn(t *testing.T) {
	t.Parallel()
	root, child := family(t)
	join(t, root, child, pairing.Options{PubSub: memory.New(memory.Options{HandOver: true})})
	kept := make(chan *note, 1)
	require.NoError(t, commands.Register(within(t), child, echoNote, func(_ context.Context, v note) (note, error) {
		kept <- &v
		return v, nil
	}))
	in := note{A: [4]int{1, 2, 3, 4}}
	out, err := commands.Execute(within(t), root, echoNote, in)
	require.NoError(t, err)
	k := await(t, kept)
	in.A[0], out.A[1], k.A[2] = 100, 200, 300
	assert.Equal(t, [4]int{1, 200, 3, 4}, out.A)
	assert.Equal(t, [4]int{1, 2, 300, 4}, k.A)

	tick := events.Define[note]("tick")
	got := make(chan *note, 8)
	for _, r := range []*commands.Registry{root, child, root, child} {
		_, err := events.Listen(r.Events(), tick, func(_ context.Context, v note) {
			v.A[0]++
			got <- &v
		})
		require.NoError(t, err)
	}
	require.NoError(t, events.Emit(within(t), root.Events(), tick, note{A: [4]int{41}}))
	for range 4 {
		assert.Equal(t, 42, await(t, got).A[0])
	}
}

// Three links, the middle one of another kind: the value is encoded where it must be, and the deadline holds.
func TestRule03DeadlinesAndValuesCrossHopsOfAllKinds(t *testing.T) {
	t.Parallel()
	for _, middle := range pairings {
		t.Run(middle.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rs := make([]*commands.Registry, 4)
				rs[0] = newRegistry(t, commands.Config{ID: "0"})
				for i := 1; i < 4; i++ {
					rs[i] = newRegistry(t, commands.Config{ID: fmt.Sprint(i), RouterChannel: fmt.Sprint(i - 1)})
					opts := pairing.Options{PubSub: memory.New(memory.Options{HandOver: true})}
					if i == 2 {
						opts = middle.make()
					}
					join(t, rs[i-1], rs[i], opts)
				}
				left := make(chan time.Duration, 1)
				require.NoError(t, commands.Register(t.Context(), rs[3], echoNote, func(ctx context.Context, v note) (note, error) {
					at, ok := ctx.Deadline()
					assert.True(t, ok)
					left <- time.Until(at)
					if v.N < 0 {
						<-ctx.Done()
						return v, ctx.Err()
					}
					return v, nil
				}))
				settle(t, rs...)
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				got, err := commands.Execute(ctx, rs[0], echoNote, note{N: 7})
				require.NoError(t, err)
				assert.Equal(t, note{N: 7}, got)
				assert.Equal(t, 3*time.Second, <-left)
				start := time.Now()
				_, err = commands.Execute(ctx, rs[0], echoNote, note{N: -1})
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.Equal(t, 3*time.Second, time.Since(start))
			})
		})
	}
}

// Replies and events use their parcels again. Each has to bring what it was sent with, whoever ends what in the middle.
func TestParcelsThatAreUsedAgainBringWhatTheyWereSentWith(t *testing.T) {
	t.Parallel()
	for _, p := range pairings {
		if strings.Contains(p.name, "JSON") {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			root, child := family(t)
			require.NoError(t, commands.Register(within(t), child, echoNote, func(_ context.Context, v note) (note, error) {
				switch v.N % 16 {
				case 3:
					panic("on purpose")
				case 5:
					runtime.Goexit()
				case 7:
					return v, errors.New(v.Text)
				}
				return v, nil
			}))
			tick := events.Define[note]("tick")
			_, err := events.Listen(root.Events(), tick, func(_ context.Context, v note) { assert.Equal(t, fmt.Sprint(v.N), v.Text) })
			require.NoError(t, err)
			for round := range 4 {
				down, up := join(t, root, child, p.make())
				var wg sync.WaitGroup
				for g := range 8 {
					wg.Go(func() {
						for i := range 100 {
							in := note{N: (round*8+g)*100 + i}
							in.Text = fmt.Sprint(in.N)
							out, err := commands.Execute(context.Background(), root, echoNote, in)
							switch {
							case errors.Is(err, commands.ErrChannelDisconnected) || errors.Is(err, commands.ErrNotFound):
								return
							case in.N%16 == 3 || in.N%16 == 5:
								assert.ErrorIs(t, err, commands.ErrInternal)
							case in.N%16 == 7:
								assert.EqualError(t, err, in.Text)
							default:
								assert.NoError(t, err)
								assert.Equal(t, in, out)
							}
							assert.NoError(t, events.Emit(context.Background(), child.Events(), tick, in))
						}
					})
				}
				if round%2 == 1 { // in the middle
					assert.NoError(t, down.Close())
				}
				wg.Wait()
				assert.NoError(t, up.Close())
				await(t, down.Done())
			}
		})
	}
}
