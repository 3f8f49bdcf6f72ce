package bus

import (
	"github.com/ThreeDotsLabs/watermill/message"
)

// SizedPublisher is a publisher that knows how large a message may be. Links and fleets ask it before they queue one: what is too
// large is refused with an error that wraps [ErrTooLarge], and costs no other message anything. Publishers of package
// brokers are some. One that does not know returns an error that wraps ErrTooLarge from Publish: then the message is given up at
// once, and its caller is told.
type SizedPublisher interface {
	message.Publisher
	// MaxBytes returns how many bytes a message to the topic may have at most, payload, UUID and metadata as they are encoded for
	// the transport; 0 if that is unknown. It is called for each message: it must not block, and may return something else
	// each time.
	MaxBytes(topic string) int
}

// EnvelopeSizer is a publisher of parcels that makes something else of them, and knows how large that will be: a fleet's.
type EnvelopeSizer interface {
	// SizeOf returns how many bytes e would have, and how many it may have; 0 for no limit. It must not block, and
	// not change what e refers to.
	SizeOf(e Envelope) (n, limit int)
}

const (
	// entryRoom is more than a transport adds to each entry of metadata, in bytes.
	entryRoom = 16
	// stampRoom is more than a link adds to a message when it leaves, in bytes: sessions, times, a signature.
	stampRoom = 1 << 10
	// ownRoom is more than leat's own metadata and names of usual lengths take.
	ownRoom = 4 << 10
)

// MessageSize is what a message may take with a [SizedPublisher], in bytes: its payload, its UUID, the keys and values of its metadata, and
// 16 for each of them.
func MessageSize(m *message.Message) int {
	n := len(m.UUID) + len(m.Payload)
	for k, v := range m.Metadata {
		n += len(k) + len(v) + entryRoom
	}
	return n
}

// sizes finds out what the publisher knows of sizes.
func (l *Link) sizes() {
	if l.parcels != nil {
		l.sizer, _ = l.ch.Publisher.(EnvelopeSizer)
		return
	}
	l.sized, _ = l.ch.Publisher.(SizedPublisher)
}

// fits refuses a message that is too large for the transport. weight is what e weighs.
func (l *Link) fits(e *Envelope, m *message.Message, weight int) error {
	switch {
	case l.sizer != nil:
		if n, limit := l.sizer.SizeOf(*e); limit > 0 && n > limit {
			return tooLarge("", n, limit)
		}
	case l.sized != nil:
		limit := l.sized.MaxBytes(l.ch.Out)
		if limit <= 0 || weight+entryRoom*len(m.Metadata)+ownRoom <= limit {
			return nil
		}
		if n := MessageSize(m) + stampRoom; n > limit {
			return tooLarge("", n, limit)
		}
	}
	return nil
}

// Sized reports whether the transport may take less than Options.MaxMessageBytes says.
func (l *Link) Sized() bool { return l.sizer != nil || l.sized != nil }

// Fits returns an error that wraps [ErrTooLarge] if [Link.Send] would refuse e for its size. It is for events, which go to many: one
// that one of them cannot get is refused before any has it.
func (l *Link) Fits(e *Envelope) error {
	switch {
	case l.sizer != nil:
		err := l.fits(e, nil, 0)
		if err != nil && e.Value != nil { // its size is a bound
			copied := *e
			copied.encode()
			err = l.fits(&copied, nil, 0)
		}
		return l.sendError(err)
	case l.sized == nil:
		return nil
	}
	if limit := l.MaxBytes(); 3*(e.Size()+entryRoom*len(e.Metadata))+ownRoom <= limit { // escaping makes it three times as long at most
		return nil
	}
	copied := *e
	m, err := l.marshal(&copied)
	if err == nil {
		_, err = l.item(&copied, m)
	}
	return l.sendError(err)
}

// MaxBytes is how large the messages of the link may be, in bytes: Options.MaxMessageBytes, or what the transport takes if that is
// known and less.
func (l *Link) MaxBytes() int {
	limit := l.bus.opts.MaxMessageBytes
	if l.sized != nil {
		if n := l.sized.MaxBytes(l.ch.Out); n > 0 {
			return min(limit, n)
		}
	}
	return limit
}
