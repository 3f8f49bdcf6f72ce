package bus

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
)

const (
	// MaxIDBytes bounds each of the names in a message, in bytes: its ID and
	// thread, the command or event, the key, the idempotency key, and the keys
	// of its metadata.
	MaxIDBytes = 64 << 10
	// MaxFaultBytes bounds the text of a failure, in bytes: a longer one is cut,
	// at the end of a character. Where an eighth of Options.MaxMessageBytes is
	// less, that is the bound.
	MaxFaultBytes = 16 << 10
)

// What every message has is not weighed: names up to a length, and metadata of
// leat's own, of which there are a dozen entries.
const (
	freeName    = 64
	freeKey     = 32
	freeEntries = 32
)

// Size is what the envelope weighs against Options.MaxMessageBytes, in bytes:
// its body, metadata, groups and failure, and of each name what exceeds 64
// bytes. For a Value it is the bound that the value states.
func (e *Envelope) Size() int {
	n := len(e.Body)
	if e.Value != nil {
		n += e.Value.Size()
	}
	if len(e.ID)|len(e.Thread)|len(e.Name)|len(e.Key)|len(e.Once) >= freeName { // else all are shorter
		for _, name := range [...]string{e.ID, e.Thread, e.Name, e.Key, e.Once} {
			n += max(0, len(name)-freeName)
		}
	}
	if f := e.Fault; f != nil {
		n += len(f.Code) + len(f.Message) + len(f.Reason) + len(f.Details)
	}
	if e.Groups != nil {
		for _, g := range *e.Groups {
			n += len(g) + 1
		}
	}
	if len(e.Metadata) > 0 { // to begin a range over a map is not free
		for k, v := range e.Metadata {
			n += len(k) + len(v)
		}
	}
	return n
}

// weigh returns what a message that is no parcel weighs: like Size, but by its
// form on the wire, without decoding it.
func weigh(m *message.Message) int {
	n, own := len(m.Payload), 0
	for k, v := range m.Metadata {
		if own++; strings.HasPrefix(k, keyPrefix) && own <= freeEntries {
			n += max(0, len(k)-freeKey) + max(0, len(v)-freeName)
			continue
		}
		n += len(k) + len(v)
	}
	return n
}

// weight returns what m weighs, which is about to go out.
func (l *Link) weight(m *message.Message) int {
	if l.parcels != nil {
		return int(m.Context().(*parcel).size)
	}
	return weigh(m)
}

// Within returns an error that wraps [ErrTooLarge] if e weighs more than limit,
// or has a name longer than [MaxIDBytes].
func (e *Envelope) Within(limit int) error {
	if n := e.Size(); n > limit {
		return tooLarge("", n, limit)
	}
	return e.named()
}

// named refuses names that are too long.
func (e *Envelope) named() error {
	if len(e.ID)|len(e.Thread)|len(e.Name)|len(e.Key)|len(e.Once) > MaxIDBytes || e.Metadata != nil {
		return e.misnamed()
	}
	return nil
}

func (e *Envelope) misnamed() error {
	for _, f := range [...]struct{ what, name string }{
		{"ID", e.ID}, {"thread", e.Thread}, {"name", e.Name}, {"key", e.Key}, {"once", e.Once},
	} {
		if n := len(f.name); n > MaxIDBytes {
			return tooLarge(f.what+" of ", n, MaxIDBytes)
		}
	}
	for k := range e.Metadata {
		if n := len(k); n > MaxIDBytes {
			return tooLarge("metadata key of ", n, MaxIDBytes)
		}
	}
	return nil
}

func tooLarge(what string, n, limit int) error {
	return fmt.Errorf("%w: %s%d bytes, the limit is %d", ErrTooLarge, what, n, limit)
}

// trim cuts the text of a failure, of which other envelopes may have the same.
func (e *Envelope) trim(limit int) {
	if e.Fault != nil {
		e.trimFault(min(MaxFaultBytes, limit/8)) // JSON makes up to six bytes of one
	}
}

func (e *Envelope) trimFault(limit int) {
	if len(e.Fault.Message) <= limit {
		return
	}
	f := *e.Fault
	f.Message = cut(f.Message, limit)
	e.Fault = &f
}

const ellipsis = "..."

// cut returns at most limit bytes of a text, and says so at the end.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	n := max(0, limit-len(ellipsis))
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + ellipsis[:min(limit, len(ellipsis))]
}
