package pairing_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
)

type point struct {
	X int `json:"x"`
}

var (
	double = commands.Define[point, point]("double", "")
	moved  = events.Define[point]("moved")
)

func doubled(_ context.Context, p point) (point, error) { return point{2 * p.X}, nil }

// tap listens in on a topic. What it sees comes out of saw when it has ended.
func tap(t *testing.T, ps *memory.PubSub, topic string) (saw func() []*message.Message) {
	t.Helper()
	in, err := ps.Subscribe(context.Background(), topic)
	require.NoError(t, err)
	var got []*message.Message
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for m := range in {
			got = append(got, m)
			assert.NoError(t, bus.Unpack(m))
			m.Ack()
		}
	}()
	return func() []*message.Message { <-ended; return got }
}

// Somebody who subscribes to a pair's topics gets copies, which stay true whatever the links do with theirs.
func TestATapSeesWhatIsSentAndDisturbsNobody(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]memory.Options{"handed over": {HandOver: true, MaxUnacked: 16, PreserveContext: true}, "copied": {PreserveContext: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := registry(t, "a", ""), registry(t, "b", "a")
			ps := memory.New(o)
			toB, toA := pairing.InMemory("b", "a", pairing.Options{PubSub: ps})
			there, back := tap(t, ps, toB.Out), tap(t, ps, toA.Out)
			lb, err := a.RegisterChannel(t.Context(), toB)
			require.NoError(t, err)
			_, err = b.RegisterChannel(t.Context(), toA)
			require.NoError(t, err)
			<-lb.Ready()
			require.NoError(t, commands.Register(t.Context(), b, double, doubled))
			heard := 0
			_, err = events.Listen(b.Events(), moved, func(_ context.Context, p point) { heard += p.X })
			require.NoError(t, err)
			const callers, each = 4, 100
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for i := range each {
						got, err := commands.Execute(context.Background(), a, double, point{i})
						assert.NoError(t, err)
						assert.Equal(t, point{2 * i}, got)
						assert.NoError(t, events.Emit(context.Background(), a.Events(), moved, point{1}))
					}
				})
			}
			wg.Wait()
			require.NoError(t, a.Events().Flush(t.Context()))
			require.NoError(t, b.Events().Flush(t.Context()))
			assert.Equal(t, callers*each, heard)
			require.NoError(t, lb.Close())

			sums, n := map[bus.Type]int{}, map[bus.Type]int{}
			for _, m := range append(there(), back()...) {
				e, err := bus.Binary.Unmarshal(m)
				require.NoError(t, err)
				n[e.Type]++
				switch e.Type {
				case bus.ExecuteRequest, bus.ExecuteResponse, bus.Event:
					var p point
					require.NoError(t, json.Unmarshal(m.Payload, &p), "%+v", e)
					sums[e.Type] += p.X
				}
			}
			const all = callers * each * (each - 1) / 2
			assert.Equal(t, map[bus.Type]int{bus.ExecuteRequest: all, bus.ExecuteResponse: 2 * all, bus.Event: callers * each}, sums)
			assert.Equal(t, callers*each, n[bus.ExecuteRequest])
		})
	}
}

// traced is what a decorator of subscribers does: each message gets a context of its own.
type traced struct{ message.Subscriber }

type traceKey struct{}

func (s traced) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	return relayed(ctx, s.Subscriber, topic, func(m *message.Message) *message.Message {
		m.SetContext(context.WithValue(m.Context(), traceKey{}, m.UUID))
		return m
	})
}

// A half whose subscriber is decorated gets messages like any others, and dedupes by ID. Then a request keeps no ID that was
// used on that link.
func TestRule06RequestIDsUsedTwiceReachAHalfWithADecoratedSubscriber(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]func() pairing.Options{
		"gochannel": func() pairing.Options { return pairing.Options{} },
		"memory":    func() pairing.Options { return pairing.Options{PubSub: memory.New(memory.Options{HandOver: true})} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := registry(t, "a", ""), registry(t, "b", "a")
			toB, toA := pairing.InMemory("b", "a", opts())
			toA.Subscriber = traced{toA.Subscriber}
			lb, err := a.RegisterChannel(t.Context(), toB)
			require.NoError(t, err)
			la, err := b.RegisterChannel(t.Context(), toA)
			require.NoError(t, err)
			<-lb.Ready()
			<-la.Ready()
			require.NoError(t, commands.Register(t.Context(), b, double, doubled))
			got, err := commands.Execute(t.Context(), a, double, point{4})
			require.NoError(t, err)
			assert.Equal(t, point{8}, got)

			replies := make(chan string, 1)
			origin := bus.New(bus.Options{})
			defer origin.Close()
			origin.Use(func(*bus.Link) bus.Receiver { return origins(replies) })
			toOrigin, fromOrigin := pairing.InMemory("origin", "a")
			_, err = a.RegisterChannel(t.Context(), toOrigin)
			require.NoError(t, err)
			l, err := origin.Attach(t.Context(), fromOrigin)
			require.NoError(t, err)
			<-l.Ready()
			for i := range 3 {
				require.NoError(t, l.Send(bus.Envelope{ID: "1", Type: bus.ExecuteRequest, Name: "double", Body: fmt.Appendf(nil, `{"x":%d}`, i)}))
				assert.JSONEq(t, fmt.Sprintf(`{"x":%d}`, 2*i), <-replies)
			}
		})
	}
}

// origins is a layer that takes replies, and no values.
type origins chan string

func (o origins) Opened() {}
func (o origins) Receive(d *bus.Delivery) bool {
	if d.Envelope.Type == bus.ExecuteResponse {
		o <- string(d.Envelope.Body)
	}
	return true
}
func (o origins) Unsent(bus.Type, string, error) {}
func (o origins) Closed(error)                   {}
