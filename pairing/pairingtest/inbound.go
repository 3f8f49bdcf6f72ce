package pairingtest

import (
	"fmt"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func inbound(mws ...message.HandlerMiddleware) func(*commands.Config) {
	return func(c *commands.Config) { c.Inbound = mws }
}

func inboundSees(k *kit) {
	var requests, events atomic.Int64
	r := k.registry("r", inbound(func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			d, ok := bus.DeliveryFrom(m.Context())
			switch {
			case !ok || d.Link.ID() != "peer":
				return nil, fmt.Errorf("no delivery from the peer")
			case d.Envelope.Type == bus.ExecuteRequest:
				requests.Add(1)
			case d.Envelope.Type == bus.Event:
				events.Add(1)
			}
			return h(m)
		}
	}))
	k.echo(r, "echo")
	w, _ := k.wire(r, "peer", everything, `[]`)
	for range 2 {
		w.request("same", "echo", "1")
		w.send(bus.Envelope{ID: "same event", Type: bus.Event, Name: "x"})
	}
	w.flush()
	require.EqualValues(k.t, 2, requests.Load())
	require.EqualValues(k.t, 2, events.Load())
	require.EqualValues(k.t, 2, r.Stats().Bus.Duplicates)
	require.EqualValues(k.t, 1, r.Events().Stats().Received)
}

func inboundRejects(k *kit) {
	r := k.registry("r", inbound(func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			if d, _ := bus.DeliveryFrom(m.Context()); d.Envelope.Name == "forbidden" {
				return nil, errTemporary
			}
			return h(m)
		}
	}))
	b := k.inbox(r, "*", 1)
	w, link := k.wire(r, "peer", everything, `[]`)
	w.send(bus.Envelope{Type: bus.Event, Name: "forbidden", Body: encoded("1")})
	w.send(bus.Envelope{Type: bus.Event, Name: "allowed", Body: encoded("2")})
	k.awaits(b.full, "the event")
	w.flush()
	require.Equal(k.t, []string{"2"}, b.list())
	require.EqualValues(k.t, 1, link.Stats().Rejected)
}

func inboundPanics(k *kit) {
	r := k.registry("r", inbound(func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			if d, _ := bus.DeliveryFrom(m.Context()); d.Envelope.Name == "bomb" {
				panic("on purpose")
			}
			return h(m)
		}
	}))
	b := k.inbox(r, "*", 1)
	w, link := k.wire(r, "peer", everything, `[]`)
	w.send(bus.Envelope{Type: bus.Event, Name: "bomb"})
	w.send(bus.Envelope{Type: bus.Event, Name: "flower", Body: encoded("1")})
	k.awaits(b.full, "the event")
	w.flush()
	require.EqualValues(k.t, 1, link.Stats().Rejected)
}
