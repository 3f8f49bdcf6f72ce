package fleet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/reason"
)

// What is on its way to one inbox leaves as one message, a bundle, so that a broker's price of a message, a dozen
// microseconds or a transaction, is paid once for all that has gathered while the bundle before was published. Its
// payload is a version, the sender, the recipient's session, and the letters: each a length and fields; each field a
// tag and a varint, which is a number, or the length of the bytes that follow. Fields that are not there are zero, and
// a reader skips those that it does not know.

// bundleMark is how a bundle begins: no JSON does. The last byte is the version.
const bundleMark = "\x00leat\x01"

// maxBundle is how long a bundle gets, in bytes, or Options.MaxMessageBytes if that is less: a letter that does not
// fit begins a new one.
const maxBundle = 64 << 10

func isBundle(payload []byte) bool { return bytes.HasPrefix(payload, []byte(bundleMark)) }

// field is the tag of a field. The numbers are the wire's: they never change.
type field byte

const (
	fieldKind field = 1 + iota
	fieldSent
	fieldEcho
	fieldExpires
	fieldVersion
	fieldGaps
	fieldPart
	fieldParts
	fieldLetterThread // of a notice
	fieldDrained
	fieldBody // of a notice or of a bus message
	fieldType
	fieldID
	fieldThread
	fieldName
	fieldFaultCode
	fieldFaultMessage
	fieldUnrouted
	fieldDeadline // microseconds that remain
	fieldDepth
	fieldHops
	fieldKey
	fieldIdempotent
	fieldDurable
	fieldOnce
	fieldMetaKey // of the entry whose value follows
	fieldMetaValue
	fieldReason
	fieldDetails
	fieldLooped
	fieldLease // of a notice: µs
	fieldWire
	fieldOldest
	fieldFeatures
	fieldHash
	fieldDigest
	fieldAge
	fieldAgain

	fieldText field = 0x80 // bytes follow
)

// bundler writes bundles.
type bundler struct{ data []byte }

// headSize is about what the head of a bundle takes, beside three strings.
const headSize = 32

// begin writes the head of a bundle, of about that size, behind room for its signature.
func (b *bundler) begin(l *letter, size int, signed bool) {
	if signed {
		b.data = append(make([]byte, 0, size+signedSize), signedMark...)[:signedSize]
	} else {
		b.data = make([]byte, 0, size)
	}
	b.data = append(b.data, bundleMark...)
	for _, s := range [...]string{l.id, l.session, l.to} {
		b.data = binary.AppendUvarint(b.data, uint64(len(s)))
		b.data = append(b.data, s...)
	}
}

// add writes one letter.
func (b *bundler) add(l *letter) {
	start := len(b.data)
	b.data = append(b.data, 0, 0, 0, 0)
	b.letter(l)
	binary.BigEndian.PutUint32(b.data[start:], uint32(len(b.data)-start-4))
}

func (b *bundler) number(f field, n int64) {
	if n != 0 {
		b.data = append(b.data, byte(f))
		b.data = binary.AppendVarint(b.data, n)
	}
}

func (b *bundler) flag(f field, set bool) {
	if set {
		b.number(f, 1)
	}
}

func (b *bundler) text(f field, s string) {
	if s != "" {
		b.always(f, s)
	}
}

// always writes a text whose being there says something, also if it is empty.
func (b *bundler) always(f field, s string) {
	b.length(f, len(s))
	b.data = append(b.data, s...)
}

func (b *bundler) bytes(f field, p []byte) {
	if len(p) > 0 {
		b.length(f, len(p))
		b.data = append(b.data, p...)
	}
}

func (b *bundler) length(f field, n int) {
	b.data = append(b.data, byte(f|fieldText))
	b.data = binary.AppendUvarint(b.data, uint64(n))
}

func (b *bundler) letter(l *letter) {
	b.text(fieldKind, l.kind)
	b.number(fieldSent, l.sent)
	b.number(fieldEcho, l.echo)
	b.number(fieldExpires, l.expires)
	b.number(fieldVersion, l.version)
	b.number(fieldGaps, l.gaps)
	b.number(fieldLease, l.lease)
	b.number(fieldWire, l.wire)
	b.number(fieldOldest, l.oldest)
	b.number(fieldFeatures, l.features)
	b.text(fieldHash, l.hash)
	b.number(fieldDigest, l.digest)
	b.number(fieldAge, l.age)
	b.flag(fieldAgain, l.again)
	b.number(fieldPart, int64(l.part))
	b.number(fieldParts, int64(l.parts))
	b.text(fieldLetterThread, l.thread)
	b.flag(fieldDrained, l.drained)
	if l.kind != "" {
		b.bytes(fieldBody, l.body)
		return
	}
	e := &l.envelope
	b.text(fieldType, string(e.Type))
	if e.Type == bus.ExecuteRequest { // nobody asks for those of the others
		b.text(fieldID, e.ID)
	}
	b.text(fieldThread, e.Thread)
	b.text(fieldName, e.Name)
	b.bytes(fieldBody, e.Body)
	if e.Fault != nil {
		b.always(fieldFaultCode, e.Fault.Code) // it failed: no failure is to be read as a success
		b.text(fieldFaultMessage, e.Fault.Message)
		b.flag(fieldUnrouted, e.Fault.Unrouted)
		b.flag(fieldLooped, e.Fault.Looped)
		b.text(fieldReason, e.Fault.Reason)
		b.bytes(fieldDetails, e.Fault.Details)
	}
	b.number(fieldDeadline, e.Deadline.Microseconds())
	b.number(fieldDepth, int64(e.Depth))
	b.number(fieldHops, int64(e.Hops))
	b.text(fieldKey, e.Key)
	b.flag(fieldIdempotent, e.Idempotent)
	b.flag(fieldDurable, e.Durable)
	b.text(fieldOnce, e.Once)
	for k, v := range e.Metadata {
		b.always(fieldMetaKey, k) // or its value would be that of the key before
		b.text(fieldMetaValue, v)
	}
}

// size is about what a letter takes, and not less.
func (l *letter) size() int {
	if l.kind != "" {
		return 192 + len(l.hash) + len(l.thread) + len(l.body)
	}
	return len(l.kind) + len(l.thread) + len(l.hash) + len(l.body) + sizeOfEnvelope(&l.envelope)
}

// sizeOfEnvelope is what the letter of an envelope takes.
func sizeOfEnvelope(e *bus.Envelope) int {
	n := 96 + len(e.ID) + len(e.Thread) + len(e.Name) + len(e.Body) + len(e.Key) + len(e.Once)
	for k, v := range e.Metadata {
		n += 8 + len(k) + len(v)
	}
	if e.Fault != nil {
		n += 16 + len(e.Fault.Code) + len(e.Fault.Message) + len(e.Fault.Reason) + len(e.Fault.Details)
	}
	return n
}

// bundles makes messages of letters to one inbox, in order, and none that the broker does not take.
func (f *Fleet) bundles(topic string, items []outItem) ([]*message.Message, error) {
	limit := maxBundle
	if most := f.maxBytes(topic); most > 0 {
		limit = min(limit, most)
	}
	if f.keys == nil {
		return bundles(items, limit, false), nil
	}
	all := bundles(items, limit-signedSize, true)
	for _, m := range all {
		f.signBundle(topic, m.Payload)
	}
	return all, nil
}

// bundles makes messages of at most so many bytes, but for a letter that is longer alone.
func bundles(items []outItem, limit int, signed bool) (messages []*message.Message) {
	var b bundler
	for len(items) > 0 {
		first, n := items[0].letter, 0
		size := headSize + len(first.id) + len(first.session) + len(first.to)
		for n < len(items) && items[n].letter.to == first.to {
			more := items[n].letter.size()
			if n > 0 && size+more > limit {
				break
			}
			size += more
			n++
		}
		b.begin(first, size, signed)
		for i := range items[:n] {
			b.add(items[i].letter)
		}
		items = items[n:]
		messages = append(messages, &message.Message{Payload: b.data, Metadata: make(message.Metadata)})
	}
	return messages
}

var errCutShort = errors.New("bundle: cut short")

// unbundler reads a bundle. What it gives shares no memory with that.
type unbundler struct {
	data []byte
	err  error
}

func (u *unbundler) uvarint() uint64 {
	n, w := binary.Uvarint(u.data)
	if w <= 0 {
		u.fail()
		return 0
	}
	u.data = u.data[w:]
	return n
}

func (u *unbundler) varint() int64 {
	n, w := binary.Varint(u.data)
	if w <= 0 {
		u.fail()
		return 0
	}
	u.data = u.data[w:]
	return n
}

func (u *unbundler) fail() { u.data, u.err = nil, errCutShort }

// frame returns the fields of the next letter.
func (u *unbundler) frame() []byte {
	if len(u.data) < 4 || uint64(binary.BigEndian.Uint32(u.data)) > uint64(len(u.data)-4) {
		u.fail()
		return nil
	}
	n := 4 + int(binary.BigEndian.Uint32(u.data))
	p := u.data[4:n]
	u.data = u.data[n:]
	return p
}

// next returns bytes that a length precedes.
func (u *unbundler) next() []byte {
	n := u.uvarint()
	if n > uint64(len(u.data)) {
		u.fail()
		return nil
	}
	p := u.data[:n]
	u.data = u.data[n:]
	return p
}

// unbundle reads the letters of a bundle. Those that are malformed are left out, and counted in bad; err says what is wrong
// with the last of them.
func (p *pump) unbundle(payload []byte) (bad int, err error) {
	u := unbundler{data: payload[len(bundleMark):]}
	from := process{p.same(p.from.id, u.next()), p.same(p.from.session, u.next())}
	to := p.same(p.fleet.self.session, u.next())
	if u.err == nil && from != p.from {
		u.err = from.check()
	}
	if u.err == nil {
		p.from = from
	}
	for u.err == nil && len(u.data) > 0 {
		frame := u.frame()
		if u.err != nil {
			break
		}
		p.letters = append(p.letters, letter{process: from, to: to})
		if wrong := p.letters[len(p.letters)-1].read(frame); wrong != nil {
			p.letters = p.letters[:len(p.letters)-1]
			bad, err = bad+1, wrong
		}
	}
	if u.err != nil {
		return bad + 1, u.err
	}
	return bad, err
}

// same is string(b), without making one if it is the likely one.
func (p *pump) same(likely string, b []byte) string {
	if string(b) == likely {
		return likely
	}
	return string(b)
}

// read takes the fields of a letter.
func (l *letter) read(frame []byte) error {
	u := unbundler{data: frame}
	var body []byte
	key := ownPrefix // until there is one: a value without a key is nobody's
	e := &l.envelope
	for len(u.data) > 0 {
		f := field(u.data[0])
		u.data = u.data[1:]
		if f&fieldText == 0 {
			l.readNumber(f, u.varint())
			continue
		}
		p := u.next()
		switch f &^ fieldText {
		case fieldKind:
			l.kind = string(p)
		case fieldLetterThread:
			l.thread = string(p)
		case fieldHash:
			l.hash = string(p)
		case fieldBody:
			body = append([]byte(nil), p...)
		case fieldType:
			e.Type = typeOf(p)
		case fieldID:
			e.ID = string(p)
		case fieldThread:
			e.Thread = string(p)
		case fieldName:
			e.Name = string(p)
		case fieldFaultCode:
			l.fault().Code = string(p)
		case fieldFaultMessage:
			l.fault().Message = string(p)
		case fieldReason:
			l.fault().Reason = string(p)
		case fieldDetails:
			l.fault().Details = append([]byte(nil), p...)
		case fieldKey:
			e.Key = string(p)
		case fieldOnce:
			e.Once = string(p)
		case fieldMetaKey:
			key = string(p)
			l.entry(key, "")
		case fieldMetaValue:
			l.entry(key, string(p))
		}
	}
	if u.err != nil {
		return u.err
	}
	if l.kind != "" {
		l.body = body
	} else {
		e.Body = body
	}
	return l.check()
}

func (l *letter) readNumber(f field, n int64) {
	e := &l.envelope
	switch f {
	case fieldSent:
		l.sent = n
	case fieldEcho:
		l.echo = n
	case fieldExpires:
		l.expires = n
	case fieldVersion:
		l.version = n
	case fieldGaps:
		l.gaps = n
	case fieldLease:
		l.lease = n
	case fieldWire:
		l.wire = n
	case fieldOldest:
		l.oldest = n
	case fieldFeatures:
		l.features = n
	case fieldDigest:
		l.digest = n
	case fieldAge:
		l.age = n
	case fieldAgain:
		l.again = n != 0
	case fieldPart:
		l.part = int(n)
	case fieldParts:
		l.parts = int(n)
	case fieldDrained:
		l.drained = n != 0
	case fieldUnrouted:
		l.fault().Unrouted = n != 0
	case fieldLooped:
		l.fault().Looped = n != 0
	case fieldDeadline:
		e.Deadline = time.Duration(max(0, min(n, maxMicros))) * time.Microsecond
	case fieldDepth:
		e.Depth = int(n)
	case fieldHops:
		e.Hops = int(n)
	case fieldIdempotent:
		e.Idempotent = n != 0
	case fieldDurable:
		e.Durable = n != 0
	}
}

// fault returns that of the letter: whatever speaks of one makes it a failure.
func (l *letter) fault() *bus.Fault {
	if l.envelope.Fault == nil {
		l.envelope.Fault = new(bus.Fault)
	}
	return l.envelope.Fault
}

// maxMicros is more than any time that is waited for, in microseconds.
const maxMicros = int64(1<<62) / int64(time.Microsecond)

// ownPrefix begins the metadata keys that are leat's.
const ownPrefix = "leat-"

// entry takes an entry of metadata, unless it is leat's.
func (l *letter) entry(key, value string) {
	if strings.HasPrefix(key, ownPrefix) {
		return
	}
	if l.envelope.Metadata == nil {
		l.envelope.Metadata = make(message.Metadata)
	}
	l.envelope.Metadata[key] = value
}

// typeOf returns the type that is written so, without making a string of one that goes to inboxes.
func typeOf(p []byte) bus.Type {
	for _, t := range [...]bus.Type{bus.ExecuteRequest, bus.ExecuteResponse, bus.Cancel} {
		if string(p) == string(t) {
			return t
		}
	}
	return bus.Type(p)
}

// check refuses what this version does not write.
func (l *letter) check() error {
	const wide = 1 << 16
	e := &l.envelope
	switch {
	case l.parts < 0 || l.part < min(1, l.parts) || l.part > l.parts || l.parts > maxParts:
		return fmt.Errorf("bundle: part %d of %d", l.part, l.parts)
	case l.kind != "":
		return nil
	case e.Depth < 0 || e.Depth >= wide || e.Hops < 0 || e.Hops >= wide:
		return fmt.Errorf("bundle: depth %d, hops %d", e.Depth, e.Hops)
	}
	ok := false
	switch e.Type {
	case bus.ExecuteRequest:
		ok = e.ID != "" && e.Name != "" && e.Thread == "" && e.Fault == nil
	case bus.ExecuteResponse:
		ok = e.Thread != "" && e.Name == "" && (e.Fault == nil || e.Fault.Code != "" && e.Body == nil)
		if e.Fault != nil && (e.Fault.Reason != "" || e.Fault.Details != nil) {
			if err := reason.Check(e.Fault.Reason, e.Fault.Details); err != nil {
				return fmt.Errorf("bundle: %w", err)
			}
		}
	case bus.Cancel:
		ok = e.Thread != "" && e.Name == "" && e.Fault == nil && e.Body == nil
	}
	if !ok {
		return fmt.Errorf("bundle: not for an inbox, or incomplete: %q", e.Type)
	}
	return nil
}
