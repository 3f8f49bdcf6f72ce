package bus

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
)

// ParcelPublisher is a publisher inside one process that also takes parcels:
// messages whose envelope rides along in their context, and whose metadata is
// not written before somebody is there to read it. A Pub/Sub that copies a message
// copies the map too, once for each hand that it goes through, which was a fifth
// of a call over GoChannel. A link uses it where it is there and the codec is
// Binary. What is not received by a link has to be unpacked first: see [Unpack].
type ParcelPublisher interface {
	message.Publisher
	PublishParcel(topic string, m *message.Message) error
}

// ParcelSubscriber is a subscriber inside one process that is told that a link
// subscribes, which takes parcels; Subscribe is for everybody else. Contexts of messages must be preserved.
type ParcelSubscriber interface {
	message.Subscriber
	SubscribeParcels(ctx context.Context, topic string) (<-chan *message.Message, error)
}

// Unpack writes the metadata of a parcel, so that it is a message like any
// other. It does nothing to one that is.
func Unpack(m *message.Message) error {
	e := carried(m)
	if e == nil {
		return nil
	}
	return unpack(m, e)
}

// parcel is made in one piece.
type parcel struct {
	msg     message.Message
	carrier carrier
}

type carrier struct {
	context.Context
	envelope Envelope
}

// pack makes the parcel of e, and returns its message.
func pack(e *Envelope) (*message.Message, error) {
	if err := e.fits(); err != nil {
		return nil, err
	}
	if e.ID == "" && needsID[e.Type] {
		e.ID = NewID()
	}
	p := &parcel{carrier: carrier{context.Background(), *e}}
	p.msg.Payload = message.Payload(e.Body)
	p.msg.SetContext(&p.carrier)
	return &p.msg, nil
}

// needsID lists what is answered or deduped, by its ID. The others get one
// when they are unpacked; between links nobody asks.
var needsID = map[Type]bool{RegisterRequest: true, ListRequest: true, ExecuteRequest: true, Event: true, Flush: true}

// carried returns the envelope that m was packed with, or nil.
func carried(m *message.Message) *Envelope {
	if c, ok := m.Context().(*carrier); ok {
		return &c.envelope
	}
	return nil
}

// unpack writes what e would have been written as.
func unpack(m *message.Message, e *Envelope) error {
	if e.ID == "" {
		e.ID = NewID()
	}
	written, err := binaryCodec{}.write(e)
	if err == nil {
		m.UUID, m.Metadata, m.Payload = written.UUID, written.Metadata, written.Payload
	}
	return err
}
