package commands_test

import (
	"context"
	"encoding/json"
	"runtime"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

// wires are the kinds of link over which a hostile peer is tried. Each makes the two halves of one.
var wires = []struct {
	name string
	make func(t testing.TB, a, b string) (chA, chB *bus.Channel)
}{
	{"gochannel", func(_ testing.TB, a, b string) (chA, chB *bus.Channel) { return pairing.InMemory(a, b) }},
	{"memory", func(_ testing.TB, a, b string) (chA, chB *bus.Channel) {
		return pairing.InMemory(a, b, pairing.Options{PubSub: memory.New(memory.Options{})})
	}},
	{"JSON", func(_ testing.TB, a, b string) (chA, chB *bus.Channel) {
		return pairing.InMemory(a, b, pairing.Options{Codec: bus.JSON})
	}},
	{"join", func(t testing.TB, a, b string) (chA, chB *bus.Channel) {
		shared := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
		t.Cleanup(func() { _ = shared.Close() })
		return pairing.Join(shared, shared, b, a), pairing.Join(shared, shared, a, b)
	}},
}

func overWires(t *testing.T, test func(t *testing.T, link func(a, b string) (chA, chB *bus.Channel))) {
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			test(t, func(a, b string) (chA, chB *bus.Channel) { return w.make(t, a, b) })
		})
	}
}

// foreigner is a peer that is no registry: a subscriber and a publisher of Watermill's on the other half of a link.
// It answers each list.commands.request with what it offers.
type foreigner struct {
	t        testing.TB
	Link     *bus.Link
	ch       *bus.Channel
	codec    bus.Codec
	features bus.Features
	offers   func() string
	got      chan bus.Envelope
}

// invade attaches one to r, and waits until its list has been read.
func invade(t testing.TB, r *commands.Registry, id string, features bus.Features, offers func() string,
	link func(a, b string) (chA, chB *bus.Channel)) *foreigner {
	t.Helper()
	toPeer, toRegistry := link(id, r.ID())
	f := &foreigner{t: t, ch: toRegistry, codec: toRegistry.Codec, features: features, offers: offers, got: make(chan bus.Envelope, 1<<17)}
	if f.codec == nil {
		f.codec = bus.Binary
	}
	ctx, cancel := context.WithCancel(context.Background())
	in, err := toRegistry.Subscriber.Subscribe(ctx, toRegistry.In)
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for m := range in {
			m.Ack()
			f.take(m)
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	f.Link = attach(t, r, toPeer)
	await(t, f.Link.Ready())
	return f
}

func offering(list string) func() string { return func() string { return list } }

func (f *foreigner) take(m *message.Message) {
	e, err := f.codec.Unmarshal(m)
	switch {
	case err != nil:
		f.t.Errorf("the registry sent what its codec does not take: %v", err)
	case e.Type == bus.ListRequest:
		f.say(bus.Envelope{ID: bus.NewID(), Type: bus.ListResponse, Thread: e.ID, Body: json.RawMessage(f.offers()), Features: f.features})
	case e.Type == bus.Flush:
		f.say(bus.Envelope{ID: bus.NewID(), Type: bus.Flushed, Thread: e.ID})
	case e.Type != bus.Ping:
		f.got <- e
	}
}

func (f *foreigner) say(e bus.Envelope) {
	m, err := f.codec.Marshal(e)
	if err != nil {
		f.t.Errorf("%s does not encode: %v", e.Type, err)
		return
	}
	f.deliver(m)
}

func (f *foreigner) deliver(m *message.Message) {
	if err := f.ch.Publisher.Publish(f.ch.Out, m); err != nil {
		f.t.Errorf("publish: %v", err)
	}
}

// wants returns the next message of that type, and drops what came before it.
func (f *foreigner) wants(typ bus.Type) bus.Envelope {
	f.t.Helper()
	for {
		if e := await(f.t, f.got); e.Type == typ {
			return e
		}
	}
}

// json is a message whose payload is the given text, as peers in other languages write it.
func jsonMessage(text string) *message.Message { return message.NewMessage(bus.NewID(), []byte(text)) }

// eventually waits for what has no signal of its own: what another goroutine does with a message.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx := within(t)
	for !ok() {
		require.NoError(t, ctx.Err(), what)
		yield()
	}
}

// yield lets others run.
func yield() { runtime.Gosched() }
