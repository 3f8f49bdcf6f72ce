package fleet

import (
	"bytes"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/internal/mac"
)

// Messages are signed where the fleet has keys: those with metadata by an entry of it, a bundle, which has none, by what
// precedes it.

// signedMark is how a signed bundle begins; its MAC and the bundle follow. The last byte is the version.
const signedMark = "\x00leat-mac\x01"

// What the signatures of fleets are for, so that none is taken for one of something else.
const (
	signedLetter = "leat fleet 1"
	signedBundle = "leat fleet bundle 1"
)

// signedSize is what a signature adds to a bundle.
const signedSize = len(signedMark) + mac.Size

// sign signs a letter that is about to be published on the topic.
func (f *Fleet) sign(topic string, m *message.Message) {
	if f.keys != nil {
		f.keys.Sign(signedLetter, topic, m.Metadata, m.Payload)
	}
}

// signBundle fills in the room that bundler.begin has left for the signature.
func (f *Fleet) signBundle(topic string, payload []byte) {
	if f.keys != nil {
		f.keys.Append(payload[:len(signedMark)], signedBundle, topic, nil, payload[signedSize:])
	}
}

// authentic returns the payload of a message that is signed with one of the fleet's keys, if it has any.
func (f *Fleet) authentic(topic string, m *message.Message) (payload []byte, err error) {
	if rest, signed := bytes.CutPrefix(m.Payload, []byte(signedMark)); signed {
		switch {
		case f.keys == nil:
			err = mac.ErrKeyless
		case len(rest) < mac.Size || !f.keys.Verify(rest[:mac.Size], signedBundle, topic, nil, rest[mac.Size:]):
			err = mac.ErrForged
		default:
			return rest[mac.Size:], nil
		}
	} else {
		err = f.keys.Check(signedLetter, topic, m.Metadata, m.Payload)
	}
	if err != nil {
		f.count.forged.Add(1)
		return nil, err
	}
	return m.Payload, nil
}
