package bus

import "github.com/leatbus/leat/internal/ids"

// NewID returns a random UUID (version 4) for a message. It is unique, not secret.
func NewID() string { return ids.New() }

// eventIDs makes the IDs of the events of one bus: UUIDs that begin alike, with random bits, and end in a number. So
// a bus knows an event of its own, whenever it comes back, without remembering any. Guarded by Bus.sequence.
type eventIDs struct {
	prefix string
	n      uint64
}

// eventPrefix is the length of what they have in common: 62 random bits, and 12 that follow from these. So the UUIDs of
// version 8 that others make are not taken for IDs of a bus.
const eventPrefix = len("xxxxxxxx-xxxx-8xxx-xxxx-")

func newEventIDs() *eventIDs {
	id := []byte(NewID())
	id[14] = '8' // the UUID version for bits of the maker's own meaning
	return &eventIDs{prefix: sealPrefix(id[:eventPrefix])}
}

const hexDigits = "0123456789abcdef"

// sealPrefix writes the bits that follow from the others.
func sealPrefix(id []byte) string {
	sum := sumOfPrefix(string(id))
	id[15], id[16], id[17] = hexDigits[sum>>8&15], hexDigits[sum>>4&15], hexDigits[sum&15]
	return string(id)
}

// isEventPrefix reports whether it is the prefix of a bus.
func isEventPrefix(id string) bool {
	sum := sumOfPrefix(id)
	return id[15] == hexDigits[sum>>8&15] && id[16] == hexDigits[sum>>4&15] && id[17] == hexDigits[sum&15]
}

// sumOfPrefix is FNV-1a over the digits that are drawn, folded.
func sumOfPrefix(id string) uint32 {
	sum := uint32(2166136261)
	for i := range eventPrefix {
		if i < 15 || i > 17 {
			sum = (sum ^ uint32(id[i])) * 16777619
		}
	}
	return (sum ^ sum>>12 ^ sum>>24) & 0xfff
}

func (ids *eventIDs) next() string {
	var id [36]byte
	copy(id[:], ids.prefix)
	ids.n++
	for i, n := len(id)-1, ids.n; i >= eventPrefix; i-- {
		id[i] = hexDigits[n&15]
		n >>= 4
	}
	return string(id[:])
}

// made reports whether an ID is one of these.
func (ids *eventIDs) made(id string) bool {
	return len(id) == 36 && id[:eventPrefix] == ids.prefix
}

// parseEventID takes the ID of an event that a bus has made apart.
func parseEventID(id string) (prefix string, n uint64, ok bool) {
	if len(id) != 36 || id[14] != '8' {
		return "", 0, false
	}
	for i := eventPrefix; i < len(id); i++ {
		switch c := id[i]; {
		case '0' <= c && c <= '9':
			n = n<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | uint64(c-'a'+10)
		default:
			return "", 0, false
		}
	}
	return id[:eventPrefix], n, true
}

// messageUUID returns a UUID for the Watermill message that carries envelope
// id. Brokers limit the length of Message.UUID, so a foreign ID is not used.
func messageUUID(id string) string {
	if len(id) == 36 && id[8] == '-' && id[13] == '-' && id[18] == '-' && id[23] == '-' {
		return id
	}
	return NewID()
}
