// Package mac authenticates messages by keys that their senders and receivers share: HMAC-SHA256 over the topic, the metadata
// and the payload.
package mac

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"sync"
)

const (
	// MinKey is the least length of a key, in bytes.
	MinKey = 16
	// MaxKeys bounds the keys of a set: each costs the receiver of a forged message one computation.
	MaxKeys = 8
	// Size is the length of a MAC, in bytes.
	Size = sha256.Size
	// Key is the metadata entry that holds the MAC of a message, which covers all others.
	Key = "leat-mac"
)

// ErrKeys is why a set of keys is refused.
var ErrKeys = errors.New("invalid keys")

// Keys is a set of keys: messages are signed with the first, and accepted with any. A nil *Keys signs nothing and accepts all.
// Safe for concurrent use.
type Keys struct{ keys []*key }

type key struct{ states sync.Pool } // of *state

// state computes one MAC at a time.
type state struct {
	hash  hash.Hash
	names []string // of metadata, sorted
	buf   []byte
}

// New returns the set of these keys, which it copies; nil if there are none. Its errors wrap ErrKeys.
func New(keys [][]byte) (*Keys, error) {
	switch {
	case len(keys) == 0:
		return nil, nil
	case len(keys) > MaxKeys:
		return nil, fmt.Errorf("%w: %d, at most %d", ErrKeys, len(keys), MaxKeys)
	}
	set := new(Keys)
	for i, k := range keys {
		if len(k) < MinKey {
			return nil, fmt.Errorf("%w: key %d has %d bytes, at least %d are needed", ErrKeys, i, len(k), MinKey)
		}
		own := slices.Clone(k)
		set.keys = append(set.keys, &key{sync.Pool{New: func() any { return &state{hash: hmac.New(sha256.New, own)} }}})
	}
	return set, nil
}

// Append appends the MAC by the first key. domain tells apart what is signed for different ends. The entry Key does not count.
func (k *Keys) Append(dst []byte, domain, topic string, md map[string]string, payload []byte) []byte {
	return k.keys[0].append(dst, domain, topic, md, payload)
}

// Verify reports whether sum is the MAC by one of the keys.
func (k *Keys) Verify(sum []byte, domain, topic string, md map[string]string, payload []byte) bool {
	if len(sum) != Size {
		return false
	}
	var room [Size]byte
	for _, key := range k.keys {
		if subtle.ConstantTimeCompare(sum, key.append(room[:0], domain, topic, md, payload)) == 1 {
			return true
		}
	}
	return false
}

// Sign writes the MAC of a message into its metadata.
func (k *Keys) Sign(domain, topic string, md map[string]string, payload []byte) {
	var room [Size]byte
	md[Key] = encoding.EncodeToString(k.Append(room[:0], domain, topic, md, payload))
}

// encoding refuses what another text would decode to as well.
var encoding = base64.RawURLEncoding.Strict()

// Errors of Check.
var (
	ErrUnsigned = errors.New("message without a MAC, and there is a shared key here")
	ErrForged   = errors.New("the message's MAC is by no key that is known here")
	ErrKeyless  = errors.New("message with a MAC, and there is no shared key here")
)

// Check returns nil if the metadata has the MAC of the message, and takes it out. A nil *Keys wants none.
func (k *Keys) Check(domain, topic string, md map[string]string, payload []byte) error {
	text, signed := md[Key]
	switch {
	case k == nil && signed:
		return ErrKeyless
	case k == nil:
		return nil
	case !signed:
		return ErrUnsigned
	}
	var room [Size + 1]byte
	if len(text) != encoding.EncodedLen(Size) {
		return ErrForged
	}
	n, err := encoding.Decode(room[:], []byte(text))
	if err != nil || !k.Verify(room[:n], domain, topic, md, payload) {
		return ErrForged
	}
	delete(md, Key)
	return nil
}

func (k *key) append(dst []byte, domain, topic string, md map[string]string, payload []byte) []byte {
	s := k.states.Get().(*state)
	defer k.states.Put(s)
	s.hash.Reset()
	s.text(domain)
	s.text(topic)
	s.names = s.names[:0]
	for name := range md {
		if name != Key {
			s.names = append(s.names, name)
		}
	}
	slices.Sort(s.names)
	s.length(len(s.names))
	for _, name := range s.names {
		s.text(name)
		s.text(md[name])
	}
	clear(s.names)
	s.length(len(payload))
	s.flush()
	s.hash.Write(payload)
	return s.hash.Sum(dst)
}

// text and length gather what is hashed, so that no two messages read alike: each part has its length before it.
func (s *state) text(t string) {
	s.length(len(t))
	s.buf = append(s.buf, t...)
}

func (s *state) length(n int) { s.buf = binary.AppendUvarint(s.buf, uint64(n)) }

// keptBuffer bounds the memory that is kept for the next message, in bytes.
const keptBuffer = 16 << 10

func (s *state) flush() {
	s.hash.Write(s.buf)
	if s.buf = s.buf[:0]; cap(s.buf) > keptBuffer {
		s.buf = nil
	}
}
