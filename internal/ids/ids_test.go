package ids

import (
	"encoding/binary"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestFormatIsWhatTheUUIDLibraryWrites(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		hi, lo := rapid.Uint64().Draw(t, "hi"), rapid.Uint64().Draw(t, "lo")
		id, err := uuid.Parse(format(hi, lo))
		require.NoError(t, err)
		assert.Equal(t, id.String(), format(hi, lo))
		assert.Equal(t, uuid.Version(4), id.Version())
		assert.Equal(t, uuid.RFC4122, id.Variant())
		var want uuid.UUID
		binary.BigEndian.PutUint64(want[:8], hi)
		binary.BigEndian.PutUint64(want[8:], lo)
		want[6], want[8] = want[6]&0x0f|0x40, want[8]&0x3f|0x80
		assert.Equal(t, want, id)
	})
}

func TestIDsDiffer(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for i := range 1000 {
		last := uint8(i % 16)
		for _, id := range []string{New(), NewEnding(last)} {
			assert.False(t, seen[id])
			seen[id] = true
		}
		assert.Equal(t, "0123456789abcdef"[last], NewEnding(last)[35])
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		New()
	}
}
