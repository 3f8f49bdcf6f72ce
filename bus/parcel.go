package bus

import (
	"context"
	"math"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// ParcelPublisher is a publisher inside one process that also takes parcels:
// messages whose envelope rides along in their context, and whose metadata is
// not written before something is there to read it. A Pub/Sub that copies a message
// copies the map too, once for each hand that it goes through, which was a fifth
// of a call over GoChannel. A link uses it where it is there and the codec is
// Binary. What is not received by a link has to be unpacked first: see [Unpack].
type ParcelPublisher interface {
	message.Publisher
	// PublishParcels publishes in order. The slice must not be kept, and a message not be looked at any more once it
	// is handed to a link: see [FuncSubscriber].
	PublishParcels(topic string, parcels ...*message.Message) error
	// TakesParcels reports whether a link receives what PublishParcels publishes to the topic, and as parcels.
	// False, while that is not known, is always right. It does not block.
	TakesParcels(topic string) bool
}

// DirectPublisher is a ParcelPublisher whose receiver may be a function that the publisher runs, as over bus/memory.
// A pump may use it, and so forward without a hand-over.
type DirectPublisher interface {
	ParcelPublisher
	// TryPublish publishes the parcel, which the receiver has taken when it returns true. It never waits: where another
	// message is being handled, or waits, it does nothing and returns false.
	TryPublish(topic string, parcel *message.Message) bool
}

// ParcelSubscriber is a subscriber inside one process that is told that a link
// subscribes, which takes parcels; Subscribe is for all others. Contexts of messages must be preserved, and nothing
// else may get the same messages, or copies.
type ParcelSubscriber interface {
	message.Subscriber
	SubscribeParcels(ctx context.Context, topic string) (<-chan *message.Message, error)
}

// Pack makes the parcel of e, for direct delivery to a link's [FuncSubscriber] function. It must not be
// looked at after that. It refuses what the codecs refuse, but gives a request without ID one.
func Pack(e Envelope) (*message.Message, error) { return pack(&e, e.Size()) }

// Unpack writes the metadata and the payload of a parcel, and takes the parcel out of its context, so that it is a
// message like any other. It does nothing to one that is. Copies of m are not affected.
func Unpack(m *message.Message) error {
	packed := carried(m)
	if packed == nil {
		return nil
	}
	e := *packed
	if err := unpack(m, &e); err != nil {
		return err
	}
	m.SetContext(context.Background())
	return nil
}

// Discard takes back a parcel that was published and has been read, by a [ParcelPublisher] that does not hand it on. It
// must not be looked at after that. A message that is no parcel is left alone.
func Discard(m *message.Message) {
	if p, ok := m.Context().(*parcel); ok && m == &p.msg {
		*p = parcel{}
		parcels.Put(p)
	}
}

// parcel is a message, its envelope and what the receiving link makes of it, in one piece. It is the context of its
// message, until a link receives that: from then on its delivery is. Where others may have copies of the message, which
// are in the context of this parcel too, it is not changed once it is published.
type parcel struct {
	msg message.Message
	Delivery
}

// What Delivery.state says of a parcel.
const (
	parcelReceived = 1 << iota
	parcelAccepted // it got through dedupe
)

// parcels holds those that have been opened, and are not in use.
var parcels = sync.Pool{New: func() any { return new(parcel) }}

// recycle gives a parcel back that was received as m, by the function of a subscription. Nothing else has it if m is the very
// message that was packed; and a receiver keeps no delivery, except of a request.
func (d *Delivery) recycle(m *message.Message) {
	p := d.parcel
	if p == nil || m != &p.msg || d.Envelope.Type == ExecuteRequest || d.Link.bus.readers {
		return
	}
	*p = parcel{}
	parcels.Put(p)
}

// pack makes the parcel of e, which weighs size, and returns its message.
func pack(e *Envelope, size int) (*message.Message, error) {
	if err := e.fits(); err != nil {
		return nil, err
	}
	if e.ID == "" && e.Type.needsID() {
		e.ID = NewID()
	}
	e.expire()
	p := parcels.Get().(*parcel)
	p.Context, p.Envelope, p.parcel, p.size = context.Background(), *e, p, boundedSize(size)
	p.msg.Payload = message.Payload(e.Body)
	p.msg.SetContext(p)
	return &p.msg, nil
}

// boundedSize is a size as a parcel keeps it.
func boundedSize(n int) uint32 { return uint32(min(uint64(n), math.MaxUint32)) }

// needsID reports whether a message of the type is answered or deduped, by its ID. The others get one
// when they are unpacked; between links nothing asks for it.
func (t Type) needsID() bool {
	switch t {
	case RegisterRequest, ListRequest, ExecuteRequest, Event, Flush:
		return true
	}
	return false
}

// carried returns the envelope that m was packed with, or nil.
func carried(m *message.Message) *Envelope {
	if p, ok := m.Context().(*parcel); ok {
		return &p.Envelope
	}
	return nil
}

// unpack writes what e would have been written as.
func unpack(m *message.Message, e *Envelope) error {
	e.spellOut()
	written, err := binaryCodec{}.write(e)
	if err == nil {
		m.UUID, m.Metadata, m.Payload = written.UUID, written.Metadata, written.Payload
	}
	return err
}
