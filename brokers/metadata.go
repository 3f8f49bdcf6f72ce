package brokers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
)

// What a broker or an adapter reads for itself, or would not bring as it is, is encoded on the wire, and restored by the
// receiver. So metadata may be anything.

// escapeMark begins a key that was escaped.
const escapeMark = "%"

// escapeKeys puts escapeMark before reserved keys, and before those that begin with it.
func escapeKeys(md message.Metadata, reserved string) message.Metadata {
	var escaped message.Metadata
	for k, v := range md {
		if k != reserved && !strings.HasPrefix(k, escapeMark) {
			continue
		}
		if escaped == nil {
			escaped = maps.Clone(md)
			maps.DeleteFunc(escaped, func(k, _ string) bool { return k == reserved || strings.HasPrefix(k, escapeMark) })
		}
		escaped[escapeMark+k] = v
	}
	if escaped == nil {
		return md
	}
	return escaped
}

// unescapeKeys undoes escapeKeys, in place.
func unescapeKeys(md message.Metadata) {
	var escaped []string
	for k := range md {
		if strings.HasPrefix(k, escapeMark) {
			escaped = append(escaped, k)
		}
	}
	if escaped == nil {
		return
	}
	plain := make(message.Metadata, len(escaped))
	for _, k := range escaped {
		plain[k[len(escapeMark):]] = md[k]
		delete(md, k)
	}
	maps.Copy(md, plain)
}

// escapeText percent-encodes what is no text to a database: bytes that are not UTF-8, and NUL.
func escapeText(s string) string {
	if utf8.ValidString(s) && !strings.ContainsAny(s, "%\x00") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || r == '%' || r == 0 {
			escapeByte(&b, s[i])
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func escapeByte(b *strings.Builder, c byte) {
	const hex = "0123456789ABCDEF"
	b.Write([]byte{'%', hex[c>>4], hex[c&15]})
}

// The only header of a message whose metadata is in front of its payload, and of one that is several.
const (
	keyPacked      = "leat-packed"
	packedVersion  = "1" // see pack
	packedTogether = "2" // see packTogether
)

// pack returns a payload that has the UUID and the metadata in front of it: the length of what follows, then the UUID,
// keys and values, each behind its length.
func pack(m *message.Message) []byte {
	var head []byte
	text := func(s string) {
		head = binary.AppendUvarint(head, uint64(len(s)))
		head = append(head, s...)
	}
	text(m.UUID)
	for k, v := range m.Metadata {
		text(k)
		text(v)
	}
	packed := binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64+len(head)+len(m.Payload)), uint64(len(head)))
	packed = append(packed, head...)
	return append(packed, m.Payload...)
}

var errPacked = errors.New("packed metadata is cut short")

// unpack undoes pack, in place. The header of the message said version.
func unpack(m *message.Message, version string) error {
	if version != packedVersion {
		return fmt.Errorf("packed metadata of version %.20q", version)
	}
	head, payload, ok := cutText(m.Payload)
	if !ok {
		return errPacked
	}
	uuid, head, ok := cutText(head)
	if !ok {
		return errPacked
	}
	m.UUID, m.Payload, m.Metadata = string(uuid), payload, make(message.Metadata)
	for len(head) > 0 {
		var k, v []byte
		if k, head, ok = cutText(head); !ok {
			return errPacked
		}
		if v, head, ok = cutText(head); !ok {
			return errPacked
		}
		m.Metadata[string(k)] = string(v)
	}
	return nil
}

// cutText cuts off bytes that stand behind their length.
func cutText(p []byte) (text, rest []byte, ok bool) {
	n, w := binary.Uvarint(p)
	if w <= 0 || n > uint64(len(p)-w) {
		return nil, nil, false
	}
	p = p[w:]
	return p[:n:n], p[n:], true
}

// packTogether returns a payload of messages, each packed and behind its length.
func packTogether(messages []*message.Message) []byte {
	var together []byte
	for _, m := range messages {
		packed := pack(m)
		together = binary.AppendUvarint(together, uint64(len(packed)))
		together = append(together, packed...)
	}
	return together
}

// unpackTogether undoes packTogether. What it returns with an error are the messages before that.
func unpackTogether(together []byte) (all []*message.Message, err error) {
	for len(together) > 0 {
		packed, rest, ok := cutText(together)
		if !ok {
			return all, errPacked
		}
		m := message.NewMessage("", packed)
		if err := unpack(m, packedVersion); err != nil {
			return all, err
		}
		all, together = append(all, m), rest
	}
	return all, nil
}

// packedBytes is what a message takes of packTogether, at most.
func packedBytes(m *message.Message) int {
	n := len(m.Payload) + len(m.UUID) + 3*binary.MaxVarintLen64
	for k, v := range m.Metadata {
		n += len(k) + len(v) + 2*binary.MaxVarintLen64
	}
	return n
}
