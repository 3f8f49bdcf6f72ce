package bus

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Codec turns an envelope into a Watermill message and back. It must be safe
// for concurrent use, must not keep or change what it is given, and must
// refuse, with an error, what is not one of the protocol's messages.
type Codec interface {
	Marshal(Envelope) (*message.Message, error)
	Unmarshal(*message.Message) (Envelope, error)
}

// The codecs. Both carry the same envelopes; a registry can have channels of
// both and route between them.
var (
	// Binary puts everything but the body into metadata, so that a hop routes
	// without parsing JSON and forwards payload bytes untouched. The default.
	Binary Codec = binaryCodec{}
	// JSON makes the payload the whole canonical protocol message, for peers
	// in other languages and for transports without metadata.
	JSON Codec = jsonCodec{}
)

// Metadata keys. All of leat's own begin with the same prefix; whatever does
// not is the application's and is passed on.
const (
	keyPrefix   = "leat-"
	keyID       = "leat-id"
	keyType     = "leat-type"
	keyThread   = "leat-thread"
	keyName     = "leat-name"
	keyFault    = "leat-fault"
	keyReason   = "leat-reason"
	keyDetails  = "leat-details" // base64, URL-safe, without padding
	keyUnrouted = "leat-unrouted"
	keyDeadline = "leat-deadline" // microseconds that remain
	keyLife     = "leat-life"     // microseconds that remain
	keyDepth    = "leat-depth"
	keyHops     = "leat-hops"
	keyFeatures = "leat-features"
	keyKey      = "leat-key"
	keyIdem     = "leat-idempotent"
	keyGroups   = "leat-groups" // each with a comma before it; a comma alone is none
	keyOnly     = "leat-only"
	keyDurable  = "leat-durable"
	keyOnce     = "leat-once"
	keyLooped   = "leat-looped"
	keyPartial  = "leat-partial"
	keyPath     = "leat-path"
	keyFree     = "leat-free"
)

// newMessage returns a message to be published. It has no channels for acks,
// which message.NewMessage would make: a publisher hands out copies, and
// nothing waits for the ack of the original.
func newMessage(id string, body []byte) *message.Message {
	return &message.Message{UUID: messageUUID(id), Metadata: make(message.Metadata), Payload: body}
}

// putExtras writes what travels as metadata with either codec.
func putExtras(m message.Metadata, e *Envelope) {
	if e.Deadline > 0 {
		m[keyDeadline] = formatMicros(e.Deadline)
	}
	if e.Life > 0 {
		m[keyLife] = formatMicros(e.Life)
	}
	if e.Depth > 0 {
		m[keyDepth] = strconv.Itoa(e.Depth)
	}
	if e.Hops > 0 {
		m[keyHops] = strconv.Itoa(e.Hops)
	}
	if e.Features != 0 {
		m[keyFeatures] = strconv.Itoa(int(e.Features))
	}
	if e.Key != "" {
		m[keyOf(e.Type)] = escape(e.Key)
	}
	if e.Idempotent {
		m[keyIdem] = "1"
	}
	if e.Groups != nil {
		m[keyGroups] = "," + strings.Join(*e.Groups, ",")
	}
	if e.Only {
		m[keyOnly] = "1"
	}
	if e.Durable {
		m[keyDurable] = "1"
	}
	if e.Once != "" {
		m[keyOnce] = escape(e.Once)
	}
	if e.Fault != nil && e.Fault.Reason != "" {
		m[keyReason] = escape(e.Fault.Reason)
	}
	if e.Fault != nil && len(e.Fault.Details) > 0 {
		m[keyDetails] = base64.RawURLEncoding.EncodeToString(e.Fault.Details)
	}
	if e.Free {
		m[keyFree] = "1"
	}
	if e.Fault != nil && e.Fault.Unrouted {
		m[keyUnrouted] = "1"
	}
	if e.Fault != nil && e.Fault.Looped {
		m[keyLooped] = "1"
	}
	if e.Partial {
		m[keyPartial] = "1"
	}
	for k, v := range e.Metadata {
		if !strings.HasPrefix(k, keyPrefix) {
			m[k] = v
		}
	}
}

// keyOf is where the Key of a message travels.
func keyOf(t Type) string {
	if t == RegisterRequest {
		return keyPath
	}
	return keyKey
}

// takeExtras reads them. A value that does not parse is refused: it was not
// written by a peer of ours, and a guess would break a promise silently.
func takeExtras(m message.Metadata, e *Envelope) error {
	_, escaped := m[keyEscaped]
	for k, v := range m {
		var err error
		switch k {
		case keyDeadline:
			e.Deadline, err = parseMicros(v)
		case keyLife:
			e.Life, err = parseMicros(v)
		case keyDepth:
			e.Depth, err = parseCount(v)
		case keyHops:
			e.Hops, err = parseCount(v)
		case keyFeatures:
			var n int
			n, err = parseCount(v)
			e.Features = Features(n)
		case keyKey, keyPath:
			if k == keyOf(e.Type) {
				e.Key, err = unescape(v)
			}
		case keyIdem:
			e.Idempotent = true
		case keyGroups:
			e.Groups, err = parseGroups(v)
		case keyOnly:
			e.Only = true
		case keyDurable:
			e.Durable = true
		case keyOnce:
			e.Once, err = unescape(v)
		case keyReason:
			if e.Fault != nil {
				e.Fault.Reason, err = unescape(v)
			}
		case keyDetails:
			if e.Fault != nil {
				e.Fault.Details, err = base64.RawURLEncoding.DecodeString(v)
			}
		case keyFree:
			e.Free = true
		case keyUnrouted:
			if e.Fault != nil {
				e.Fault.Unrouted = true
			}
		case keyLooped:
			if e.Fault != nil {
				e.Fault.Looped = true
			}
		case keyPartial:
			e.Partial = true
		default:
			if !strings.HasPrefix(k, keyPrefix) {
				if e.Metadata == nil {
					e.Metadata = make(message.Metadata)
				}
				if escaped {
					v, err = unescape(v)
				}
				e.Metadata[k] = v
			}
		}
		if err != nil {
			return fmt.Errorf("metadata %s: %w", k, err)
		}
	}
	return nil
}

// maxLeft is the most that remains, as far as messages say: a caller without a deadline asks for more than a reader takes.
const maxLeft = time.Duration(1<<62) / time.Microsecond * time.Microsecond

// formatMicros writes a time that remains: something, if it is less than can be written.
func formatMicros(d time.Duration) string {
	return strconv.FormatInt(max(1, min(d, maxLeft).Microseconds()), 10)
}

func parseMicros(s string) (time.Duration, error) {
	n, err := strconv.ParseInt(brief(s), 10, 64)
	if err != nil {
		return 0, err
	}
	if n < 1 || n > maxLeft.Microseconds() {
		return 0, strconv.ErrRange
	}
	return time.Duration(n) * time.Microsecond, nil
}

// parseGroups reads names, each with a comma before it.
func parseGroups(s string) (*GroupSet, error) {
	names, ok := strings.CutPrefix(s, ",")
	switch {
	case !ok:
		return nil, strconv.ErrSyntax
	case names == "":
		return new(GroupSet), nil
	}
	set := GroupSet(strings.Split(names, ","))
	return &set, nil
}

func parseCount(s string) (int, error) {
	n, err := strconv.ParseUint(brief(s), 10, 16)
	return int(n), err
}
