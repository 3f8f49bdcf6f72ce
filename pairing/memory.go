package pairing

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
)

// PubSub is both sides of a Watermill Pub/Sub, as its in-process ones are.
type PubSub interface {
	message.Publisher
	message.Subscriber
}

// Options refines a pair. The zero value works.
type Options struct {
	// PubSub carries the messages between the halves. It must deliver in order
	// of publication what one goroutine publishes, and belongs to the pair, which closes it. Default: a
	// GoChannel of the pair's own. Over bus/memory the messages are parcels: other subscribers of the pair's
	// topics have to unpack them ([bus.Unpack]), and get them whole with PreserveContext only.
	PubSub PubSub
	// Codec of both halves. Default bus.Binary.
	Codec bus.Codec
}

// InMemory returns the two halves of a pair in this process. chA has the ID
// a: register it on the side that calls its peer a; chB the other way round.
//
// What is sent before the other half is attached is held, and delivered then.
// Closing one half ends the other, once that has taken what was sent. Both
// are marked Local.
func InMemory(a, b string, opts ...Options) (chA, chB *bus.Channel) {
	var o Options
	switch len(opts) {
	case 0:
	case 1:
		o = opts[0]
	default:
		panic(fmt.Sprintf("pairing: InMemory(%q, %q): %d options", a, b, len(opts)))
	}
	p := &pair{pubsub: o.PubSub, closing: make(chan struct{})}
	if p.pubsub == nil {
		p.pubsub = gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true, PreserveContext: true}, watermill.NopLogger{})
		p.inProcess = true
	}
	if _, ok := p.pubsub.(*memory.PubSub); ok {
		p.inProcess = true
	}
	toA, toB := newTopic("to "+a), newTopic("to "+b)
	if a == b {
		toA.name, toB.name = "to first "+a, "to second "+b
	}
	return p.half(a, toA, toB, o.Codec), p.half(b, toB, toA, o.Codec)
}

// pair is what two halves in memory share.
type pair struct {
	pubsub    PubSub
	inProcess bool // see bus.Channel
	once      sync.Once
	closing   chan struct{} // closed when either half closes
	err       error         // of the Pub/Sub's Close
}

// drainTimeout bounds how long closing waits for the other half to take what
// was published: a link always does, at once.
const drainTimeout = time.Second

// drain lets a Pub/Sub with queues of its own deliver what it has accepted.
// GoChannel's Publish has waited for that already.
func (p *pair) drain() {
	if d, ok := p.pubsub.(interface{ Drain(context.Context) error }); ok {
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		_ = d.Drain(ctx) // what is left is lost with the Pub/Sub
	}
}

// topic is one direction. It opens when its receiver has subscribed: a
// GoChannel loses what is published before.
type topic struct {
	name string
	once sync.Once
	open chan struct{}
	link bool        // set before open is closed: a link receives, which takes parcels
	up   atomic.Bool // open is closed
}

func newTopic(name string) *topic { return &topic{name: name, open: make(chan struct{})} }

// half is the channel whose peer receives on out.
func (p *pair) half(peer string, out, in *topic, codec bus.Codec) *bus.Channel {
	return &bus.Channel{
		ID:         peer,
		Publisher:  p.gate(out),
		Subscriber: p.opener(in),
		Out:        out.name,
		In:         in.name,
		Codec:      codec,
		Local:      true,
		InProcess:  p.inProcess,
		Closing:    func() { p.giveUp(out) },
		Close:      p.close,
	}
}

func (p *pair) opener(in *topic) message.Subscriber {
	o := opener{p, in}
	switch p.pubsub.(type) {
	case *memory.PubSub:
		return &funcOpener{o}
	case *gochannel.GoChannel:
		if p.inProcess {
			return &parcelOpener{o}
		}
	}
	return &o
}

func (p *pair) gate(out *topic) message.Publisher {
	g := gate{p, out}
	if m, ok := p.pubsub.(*memory.PubSub); ok {
		return &directGate{parcelGate{g}, m}
	}
	if p.inProcess {
		return &parcelGate{g}
	}
	return &g
}

// giveUp ends the pair if the other half was never attached: nobody is going
// to take what is held.
func (p *pair) giveUp(out *topic) {
	select {
	case <-out.open:
	default:
		_ = p.close()
	}
}

func (p *pair) close() error {
	p.once.Do(func() {
		close(p.closing)
		p.drain()
		p.err = p.pubsub.Close()
	})
	return p.err
}

// gate publishes once the other half has subscribed.
type gate struct {
	pair *pair
	to   *topic
}

func (g *gate) Publish(topic string, messages ...*message.Message) error {
	if err := g.wait(); err != nil {
		return err
	}
	return g.pair.pubsub.Publish(topic, messages...)
}

func (g *gate) wait() error {
	if g.to.up.Load() {
		return nil
	}
	select {
	case <-g.to.open:
		return nil
	case <-g.pair.closing:
		return fmt.Errorf("publish: pair %w", bus.ErrClosed)
	}
}

// parcelGate is the gate of a Pub/Sub that hands on what it is given.
type parcelGate struct{ gate }

func (g *parcelGate) PublishParcels(topic string, parcels ...*message.Message) error {
	if err := g.wait(); err != nil {
		return err
	}
	if !g.to.link {
		for _, m := range parcels {
			if err := bus.Unpack(m); err != nil {
				return err
			}
		}
	}
	return g.pair.pubsub.Publish(topic, parcels...)
}

// TakesParcels implements [bus.ParcelPublisher].
func (g *parcelGate) TakesParcels(string) bool {
	return g.to.up.Load() && g.to.link
}

// directGate is the gate of a Pub/Sub that can call its subscriber.
type directGate struct {
	parcelGate
	pubsub *memory.PubSub
}

func (g *directGate) TryPublish(topic string, m *message.Message) bool {
	return g.TakesParcels(topic) && g.pubsub.TryPublish(topic, m)
}

// Close does nothing: the pair closes what it made.
func (*gate) Close() error { return nil }

// opener subscribes and opens the topic.
type opener struct {
	pair *pair
	from *topic
}

func (o *opener) Subscribe(ctx context.Context, topic string) (in <-chan *message.Message, err error) {
	err = o.open(false, func() (err error) {
		in, err = o.pair.pubsub.Subscribe(ctx, topic)
		return err
	})
	return in, err
}

func (o *opener) open(link bool, subscribe func() error) error {
	select {
	case <-o.pair.closing:
		return fmt.Errorf("subscribe: pair %w", bus.ErrClosed)
	default:
	}
	if err := subscribe(); err != nil {
		select {
		case <-o.pair.closing: // meanwhile
			return fmt.Errorf("subscribe: pair %w", bus.ErrClosed)
		default:
			return err
		}
	}
	o.from.once.Do(func() {
		o.from.link = link
		o.from.up.Store(true)
		close(o.from.open)
	})
	return nil
}

// parcelOpener is the opener of a Pub/Sub that preserves contexts.
type parcelOpener struct{ opener }

func (o *parcelOpener) SubscribeParcels(ctx context.Context, topic string) (in <-chan *message.Message, err error) {
	err = o.open(true, func() (err error) {
		in, err = o.pair.pubsub.Subscribe(ctx, topic)
		return err
	})
	return in, err
}

// funcOpener is the opener of a Pub/Sub that can call instead of send.
type funcOpener struct{ opener }

func (o *funcOpener) SubscribeFunc(ctx context.Context, topic string, fn func(*message.Message)) (ended <-chan struct{}, err error) {
	err = o.open(true, func() (err error) {
		ended, err = o.pair.pubsub.(bus.FuncSubscriber).SubscribeFunc(ctx, topic, fn)
		return err
	})
	return ended, err
}

// Close does nothing: the pair closes what it made.
func (*opener) Close() error { return nil }
