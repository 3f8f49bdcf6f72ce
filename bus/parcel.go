package bus

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
)

// parcel is a message whose envelope rides along in its context: how a link
// sends where what arrives is what was published (see Channel.InProcess). Its
// metadata is not written before somebody is there to read it. A Pub/Sub that
// copies a message copies the map too, once for each hand that it goes through, which
// was a fifth of a call over GoChannel.
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
	if err := e.check(); err != nil {
		return nil, err
	}
	p := &parcel{carrier: carrier{context.Background(), *e}}
	p.msg.UUID, p.msg.Payload = messageUUID(e.ID), message.Payload(e.Body)
	p.msg.SetContext(&p.carrier)
	return &p.msg, nil
}

// carried returns the envelope that m was packed with, or nil.
func carried(m *message.Message) *Envelope {
	if c, ok := m.Context().(*carrier); ok {
		return &c.envelope
	}
	return nil
}

// unpack writes what m would have carried in metadata, for middleware.
func unpack(m *message.Message, e *Envelope) error {
	written, err := binaryCodec{}.write(e)
	if err == nil {
		m.Metadata, m.Payload = written.Metadata, written.Payload
	}
	return err
}
