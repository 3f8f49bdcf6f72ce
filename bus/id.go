package bus

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/google/uuid"
)

// NewID returns a random UUID (version 4) for a message.
//
// Its bits come from math/rand/v2, which is ChaCha8 seeded by the operating
// system: two per-thread reads instead of a system call. Message IDs are
// unique, not secret: a reply is believed because of the link it came from.
func NewID() string {
	var id uuid.UUID
	binary.LittleEndian.PutUint64(id[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

// messageUUID returns a UUID for the Watermill message that carries envelope
// id. Brokers limit the length of Message.UUID, so a foreign ID is not used.
func messageUUID(id string) string {
	if len(id) == 36 && id[8] == '-' && id[13] == '-' && id[18] == '-' && id[23] == '-' {
		return id
	}
	return NewID()
}
