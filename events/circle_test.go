package events_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
)

// In a ring whose trips take longer than EventTTL, over a transport without metadata, nothing circulates: neither the
// events of a registry of the ring, nor those of a peer of other make.
func TestRule14NothingCirculatesInASlowRing(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"1", bus.NewID(), "12345678-1234-8234-8234-00000000000a"} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const n, ttl = 3, time.Second
				var hubs []*node
				var heard [n]atomic.Int64
				s := &meshSim{t: t, dice: roll(1)}
				defer func() { s.close() }()
				var carried atomic.Int64
				for i := range n {
					nd := &node{}
					nd.hub, nd.bus = newHubIn(t, bus.Options{ID: fmt.Sprint("n", i), EventTTL: ttl})
					_, err := nd.hub.ListenRaw(">", func(context.Context, string, json.RawMessage) { heard[i].Add(1) })
					require.NoError(t, err)
					hubs = append(hubs, nd)
				}
				s.nodes = hubs
				foreign := bus.New(bus.Options{ID: "foreign"})
				defer foreign.Close()
				connect := func(a, b *bus.Bus, latency time.Duration) (la *bus.Link) {
					mk := func() *line {
						return &line{latency: latency, ordered: true, bare: true, rand: rand.New(rand.NewPCG(1, 1)), sent: make(chan struct{}, 1), carried: &carried}
					}
					there, back := mk(), mk()
					la, err := a.Attach(t.Context(), &bus.Channel{ID: b.ID(), Codec: bus.JSON, Publisher: there, Out: "o", Subscriber: back, In: "i"})
					require.NoError(t, err)
					_, err = b.Attach(t.Context(), &bus.Channel{ID: a.ID(), Codec: bus.JSON, Publisher: back, Out: "o", Subscriber: there, In: "i"})
					require.NoError(t, err)
					return la
				}
				for i, nd := range hubs {
					connect(nd.bus, hubs[(i+1)%n].bus, 2*ttl)
				}
				from := connect(foreign, hubs[0].bus, 0)
				time.Sleep(time.Minute) // handshakes
				before := carried.Load()
				require.NoError(t, from.Send(bus.Envelope{ID: id, Type: bus.Event, Name: "e"}))
				require.NoError(t, hubs[1].hub.EmitRaw(t.Context(), "own", nil))
				time.Sleep(30 * time.Minute)
				for i := range n {
					assert.EqualValues(t, 2, heard[i].Load(), "node %d", i)
				}
				assert.LessOrEqual(t, carried.Load()-before, int64(20), "messages")
			})
		})
	}
}

// The time in transit counts in the age of an event, on a link that knows the clocks.
func TestRule14TheTimeInTransitIsPartOfAnEventsAge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		transit time.Duration
		spent   uint64
	}{{400 * time.Millisecond, 0}, {1100 * time.Millisecond, 1}} {
		synctest.Test(t, func(t *testing.T) {
			s := &meshSim{t: t, dice: roll(1)}
			defer func() { s.close() }()
			for i := range 3 {
				nd := &node{}
				nd.hub, nd.bus = newHubIn(t, bus.Options{ID: fmt.Sprint("n", i), EventTTL: time.Second})
				s.nodes = append(s.nodes, nd)
			}
			w := wire{dice: roll(2), kind: 3, ordered: true}
			toA, toB := w.channels("n0", "n1")
			for _, ch := range []*bus.Channel{toA, toB} {
				l := ch.Publisher.(*line)
				l.latency, l.jitter, l.service = 10*time.Millisecond, 0, 0
			}
			_, err := s.nodes[0].bus.Attach(t.Context(), toB)
			require.NoError(t, err)
			_, err = s.nodes[1].bus.Attach(t.Context(), toA)
			require.NoError(t, err)
			far := make(chan string, 1)
			near := make(chan string, 1)
			for i, c := range []chan string{near, far} {
				_, err = s.nodes[i+1].hub.ListenRaw("e", func(_ context.Context, id string, _ json.RawMessage) { c <- id })
				require.NoError(t, err)
			}
			s.attach(edge{1, 2, true}, wire{dice: roll(3)}, 0)
			time.Sleep(20 * time.Second)
			toB.Publisher.(*line).slow(c.transit)
			require.NoError(t, s.nodes[0].hub.EmitRaw(t.Context(), "e", nil))
			time.Sleep(20 * time.Second)
			assert.Len(t, near, 1, "it is delivered, however late")
			assert.EqualValues(t, c.spent, s.nodes[1].hub.Stats().Spent)
			assert.Len(t, far, 1-int(c.spent))
		})
	}
}

// A triangle of which one half is attached long after EventTTL: what was held for it is known by then.
func TestRule14ATriangleWithALateHalf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &meshSim{t: t, dice: roll(1)}
		defer func() { s.close() }()
		for i := range 3 {
			nd := &node{}
			nd.hub, nd.bus = newHubIn(t, bus.Options{ID: fmt.Sprint("n", i)})
			s.nodes = append(s.nodes, nd)
		}
		var got []string
		_, err := s.nodes[2].hub.ListenRaw("e", func(_ context.Context, _ string, p json.RawMessage) { got = append(got, string(p)) })
		require.NoError(t, err)
		memory := wire{dice: roll(2)}
		s.attach(edge{0, 1, true}, memory, 0)
		s.attach(edge{1, 2, true}, memory, 0)
		toA, toB := memory.channels("n0", "n2")
		_, err = s.nodes[0].bus.Attach(t.Context(), toB)
		require.NoError(t, err)
		var want []string
		for i := range 100 {
			want = append(want, fmt.Sprint(i))
			require.NoError(t, s.nodes[0].hub.EmitRaw(t.Context(), "e", json.RawMessage(want[i])))
		}
		time.Sleep(6 * time.Second)
		_, err = s.nodes[2].bus.Attach(t.Context(), toA)
		require.NoError(t, err)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, want, got)
		st := s.nodes[2].bus.Stats()
		assert.EqualValues(t, 100, st.Duplicates)
		assert.Zero(t, st.Overtaken)
	})
}
