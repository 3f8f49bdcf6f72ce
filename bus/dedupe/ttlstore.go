package dedupe

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash/maphash"
	"math"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// ErrClosed is what every method of a closed [TTLStore] that can fail returns, as it is.
var ErrClosed = errors.New("dedupe: store closed")

const (
	defaultMaxKeys   = 1 << 18
	maxShards        = 1 << 10
	minKeysPerShard  = 1 << 10 // below it, the oldest key of a shard may be one of the newest of the store
	maxMaxKeys       = 1 << 30
	maxKeyLen        = 64 // bytes
	sweepsPerTTL     = 4
	minSweepInterval = time.Millisecond
)

// TTLStoreOptions tunes a [TTLStore]. The zero value works.
type TTLStoreOptions struct {
	// MaxKeys bounds the keys remembered at a time, reservations included. Default: 262,144.
	//
	// A key that comes when the store is full takes the place of the one in its shard that would have expired first. With
	// one shard that is exactly the oldest key of the store; with several it is about the oldest.
	MaxKeys int
	// Shards is the number of independently locked parts, rounded down to a power of two, to at most 1024, and to one for
	// each 1,024 of MaxKeys: a store for fewer has one. Default: four for each CPU in use (GOMAXPROCS), up to 64.
	Shards int
}

// TTLStoreStats is a snapshot of a [TTLStore]. The counters count from the store's making, and survive Close.
type TTLStoreStats struct {
	Keys       int    // remembered now: reserved or committed, not expired
	Evicted    uint64 // forgotten before their time, because the store was full
	Duplicates uint64 // reservations refused, because the key was remembered
}

// TTLStore is a [Store] in memory. It remembers a key for exactly the TTL, on the monotonic clock, counted from Reserve
// and once more from Commit. It also satisfies Watermill's middleware.ExpiringKeyRepository.
//
// Memory follows the number of keys, down as well as up: expired keys leave within a quarter of the TTL (a millisecond at
// least) without a further call. A store that is empty has a timer at most, and one that holds keys runs a goroutine only
// while that timer's sweep lasts. A key of up to 64 bytes is kept as given: clone one that is a small part of a large
// buffer. Of a longer one its SHA-256 is kept.
//
// All methods are safe for concurrent use, never wait for anything but a short lock, and do not look at their ctx.
type TTLStore struct {
	ttl    int64 // nanoseconds
	seed   maphash.Seed
	base   time.Time // instants are nanoseconds after it
	shards []ttlShard
	max    int64
	keys   atomic.Int64 // remembered, expired ones included that are not removed yet

	flights flights // of the middleware that has this store

	armed atomic.Bool // the timer runs, or has fired and its sweep has not begun; set under mu

	mu       sync.Mutex // guards closed and timer
	closed   bool
	timer    *time.Timer    // nil until the first key
	sweeping sync.WaitGroup // one for the timer that is armed, one for each sweep that runs; Close waits for it
}

// NewTTLStore makes an empty store that remembers keys for ttl. At most one options struct is taken. It panics if ttl is
// not positive, or an option negative.
func NewTTLStore(ttl time.Duration, opts ...TTLStoreOptions) *TTLStore {
	var o TTLStoreOptions
	switch len(opts) {
	case 0:
	case 1:
		o = opts[0]
	default:
		panic("bus: NewTTLStore: more than one TTLStoreOptions")
	}
	if ttl <= 0 {
		panic("bus: NewTTLStore: ttl must be positive, got " + ttl.String())
	}
	if o.MaxKeys < 0 || o.Shards < 0 {
		panic("bus: NewTTLStore: MaxKeys and Shards must not be negative")
	}
	if o.MaxKeys == 0 {
		o.MaxKeys = defaultMaxKeys
	}
	n := o.shards()
	s := &TTLStore{
		ttl:    min(int64(ttl), math.MaxInt64/2), // so that now+ttl does not overflow for 146 years
		seed:   maphash.MakeSeed(),
		base:   time.Now(),
		shards: make([]ttlShard, n),
		max:    int64(min(o.MaxKeys, maxMaxKeys)),
	}
	for i := range s.shards {
		s.shards[i].store = s
	}
	return s
}

// shards returns the number of shards, a power of two.
func (o TTLStoreOptions) shards() int {
	n := o.Shards
	if n == 0 {
		n = min(4*runtime.GOMAXPROCS(0), 64)
	}
	n = max(1, min(n, o.MaxKeys/minKeysPerShard, maxShards))
	return 1 << (bits.Len(uint(n)) - 1)
}

// Reserve claims the key. It returns false if the key is remembered, and [ErrClosed] after Close.
func (s *TTLStore) Reserve(_ context.Context, key string) (bool, error) {
	key = short(key)
	sh, tag := s.shard(key)
	sh.mu.Lock()
	if sh.closed {
		sh.mu.Unlock()
		return false, ErrClosed
	}
	fresh := sh.reserve(key, tag, s.now(), s.ttl)
	sh.mu.Unlock()
	if fresh {
		s.relieve()
		s.ensureArmed()
	}
	return fresh, nil
}

// Commit lets the key's time begin anew. A key that expired or was evicted since its reservation is remembered again.
// It returns [ErrClosed] after Close.
func (s *TTLStore) Commit(_ context.Context, key string) error {
	key = short(key)
	sh, tag := s.shard(key)
	sh.mu.Lock()
	if sh.closed {
		sh.mu.Unlock()
		return ErrClosed
	}
	sh.commit(key, tag, s.now(), s.ttl)
	sh.mu.Unlock()
	s.relieve()
	s.ensureArmed()
	return nil
}

// Release forgets the key, reserved or committed. An unknown key is no error. It returns [ErrClosed] after Close.
func (s *TTLStore) Release(_ context.Context, key string) error {
	key = short(key)
	sh, tag := s.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed {
		return ErrClosed
	}
	sh.release(key, tag)
	return nil
}

// IsDuplicate reserves the key and tells whether it was remembered already. It makes the store a
// middleware.ExpiringKeyRepository of Watermill; unlike what that one's comment says, and like its implementations, true
// means seen. It returns [ErrClosed] after Close.
func (s *TTLStore) IsDuplicate(ctx context.Context, key string) (bool, error) {
	fresh, err := s.Reserve(ctx, key)
	return !fresh && err == nil, err
}

// inMemory marks a store that does not look at contexts.
func (*TTLStore) inMemory() {}

// Len returns how many keys are remembered now; 0 after Close.
func (s *TTLStore) Len() int { return s.Stats().Keys }

// Stats returns a snapshot, taken one shard after the other.
func (s *TTLStore) Stats() TTLStoreStats {
	var st TTLStoreStats
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.expire(s.now(), math.MaxInt)
		st.Keys += sh.live()
		st.Evicted += sh.evicted
		st.Duplicates += sh.duplicates
		sh.mu.Unlock()
	}
	return st
}

// Close forgets all keys, stops the timer and waits for a sweep that runs. It is idempotent and returns nil.
func (s *TTLStore) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		if s.armed.Load() && s.timer.Stop() {
			s.sweeping.Done()
		}
	}
	s.mu.Unlock()
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.closed = true
		sh.clear()
		sh.mu.Unlock()
	}
	s.sweeping.Wait()
	return nil
}

// now is read under a shard's lock, so that its log is in order.
func (s *TTLStore) now() int64 { return int64(time.Since(s.base)) }

// short returns what is kept of a key.
func short(key string) string {
	if len(key) <= maxKeyLen {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return string(sum[:])
}

// relieve brings the store back to its bound where the shard of the last key had no other one to give up.
func (s *TTLStore) relieve() {
	for i := 0; s.keys.Load() > s.max && i < len(s.shards); i++ {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.makeRoom(s.max, s.now())
		sh.mu.Unlock()
	}
}

// shard returns the key's shard and what the shard knows of the key's hash.
func (s *TTLStore) shard(key string) (sh *ttlShard, tag uint64) {
	hash := maphash.String(s.seed, key)
	return &s.shards[hash&uint64(len(s.shards)-1)], tagOf(hash)
}

// ensureArmed is called after each key that came in. A sweep clears armed before it looks at the shards: so either it
// sees the key, or the key's caller sees armed cleared.
func (s *TTLStore) ensureArmed() {
	if !s.armed.Load() {
		s.arm(time.Duration(s.ttl))
	}
}

func (s *TTLStore) arm(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.armed.Load() {
		return
	}
	s.armed.Store(true)
	s.sweeping.Add(1)
	if s.timer == nil {
		s.timer = time.AfterFunc(d, s.sweep)
	} else {
		s.timer.Reset(d)
	}
}

// sweep is the timer's function. It arms the timer again if keys are left.
func (s *TTLStore) sweep() {
	defer s.sweeping.Done()
	s.armed.Store(false)
	var first int64
	for i := range s.shards {
		if next := s.shards[i].sweep(s.now); next != 0 && (first == 0 || next < first) {
			first = next
		}
	}
	if first != 0 {
		wait := max(first-s.now(), s.ttl/sweepsPerTTL, int64(minSweepInterval))
		s.arm(time.Duration(wait))
	}
}
