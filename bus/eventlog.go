package bus

import (
	"context"
	"math/bits"
	"strings"
	"sync"
	"time"
)

// eventLog remembers the IDs of events that were received, as a [TTLStore] does. Those that a bus has made are numbers
// behind a prefix of its own, and most come in order: of them it keeps a bit each, in blocks, where the store would keep
// a hundred bytes, for the collector to look at. All others are in the store.
//
// A block is forgotten as a whole, one TTL after the last key that came into it: no key is forgotten early for that, and
// those of an emitter with little to say are remembered longer. At the bound it is the block that has rested longest
// whose keys go first.
type eventLog struct {
	foreign *TTLStore
	ttl     time.Duration
	max     int
	base    time.Time

	mu         sync.Mutex
	blocks     map[blockID]*block // guarded by mu
	first      *block             // guarded by mu: in the order in which their last keys came
	last       *block             // guarded by mu
	hit        *block             // guarded by mu: the one used last; or nil
	keys       int                // guarded by mu
	evicted    uint64             // guarded by mu
	duplicates uint64             // guarded by mu
	timer      *time.Timer        // guarded by mu: sweeps; nil while there are no blocks
	closed     bool               // guarded by mu
}

const blockKeys = 1024

type blockID struct {
	prefix string
	number uint64
}

type block struct {
	id         blockID
	seen       [blockKeys / 64]uint64
	keys       int
	touched    time.Duration // when the last key came, since the log was made
	prev, next *block
}

func newEventLog(ttl time.Duration, maxKeys int) *eventLog {
	return &eventLog{
		foreign: NewTTLStore(ttl, TTLStoreOptions{MaxKeys: maxKeys}),
		ttl:     ttl, max: maxKeys, base: time.Now(),
		blocks: make(map[blockID]*block),
	}
}

// Reserve implements [Store].
func (l *eventLog) Reserve(ctx context.Context, key string) (bool, error) {
	prefix, n, ok := parseEventID(key)
	if !ok {
		return l.foreign.Reserve(ctx, key)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false, ErrStoreClosed
	}
	now := time.Since(l.base)
	l.expire(now)
	b := l.block(prefix, n/blockKeys)
	word, bit := n%blockKeys/64, uint64(1)<<(n%64)
	if b.seen[word]&bit != 0 {
		l.duplicates++
		return false, nil
	}
	if l.keys >= l.max {
		l.evict()
	}
	l.touch(b, now)
	b.seen[word] |= bit
	b.keys++
	l.keys++
	return true, nil
}

// Release implements [Store].
func (l *eventLog) Release(ctx context.Context, key string) error {
	prefix, n, ok := parseEventID(key)
	if !ok {
		return l.foreign.Release(ctx, key)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.blocks[blockID{prefix, n / blockKeys}]; b != nil {
		l.forget(b, n%blockKeys)
	}
	return nil
}

// Commit implements [Store]. The time of a key counts from its reservation.
func (*eventLog) Commit(context.Context, string) error { return nil }

// inMemory marks a store that does not look at contexts.
func (*eventLog) inMemory() {}

// block returns the block of that number. One without keys is new, and in no list yet.
func (l *eventLog) block(prefix string, number uint64) *block {
	b := l.hit
	if b == nil || b.id.number != number || b.id.prefix != prefix {
		b = l.blocks[blockID{prefix, number}]
	}
	if b == nil {
		b = &block{id: blockID{strings.Clone(prefix), number}}
	}
	l.hit = b
	return b
}

// touch puts a block that gets a key at the end of the list, and into the map if it is new.
func (l *eventLog) touch(b *block, now time.Duration) {
	b.touched = now
	if b == l.last {
		return
	}
	if b.keys > 0 {
		l.unlink(b)
	} else {
		l.blocks[b.id] = b
	}
	if b.prev, b.next = l.last, nil; l.last != nil {
		l.last.next = b
	} else {
		l.first = b
	}
	l.last = b
	if l.timer == nil {
		l.timer = time.AfterFunc(l.ttl, l.sweep)
	}
}

// drop forgets a block.
func (l *eventLog) drop(b *block) {
	delete(l.blocks, b.id)
	l.keys -= b.keys
	l.unlink(b)
	if l.hit == b {
		l.hit = nil
	}
	*b = block{id: b.id}
}

// unlink takes a block out of the list.
func (l *eventLog) unlink(b *block) {
	if b.prev != nil {
		b.prev.next = b.next
	} else {
		l.first = b.next
	}
	if b.next != nil {
		b.next.prev = b.prev
	} else {
		l.last = b.prev
	}
}

// expire forgets the blocks whose time is over.
func (l *eventLog) expire(now time.Duration) {
	for l.first != nil && now-l.first.touched >= l.ttl {
		l.drop(l.first)
	}
}

// evict forgets the first key of the first block, before its time.
func (l *eventLog) evict() {
	b := l.first
	l.evicted++
	for word, set := range b.seen {
		if set != 0 {
			l.forget(b, uint64(word*64+bits.TrailingZeros64(set)))
			return
		}
	}
}

// forget forgets the i-th key of a block.
func (l *eventLog) forget(b *block, i uint64) {
	word, bit := i/64, uint64(1)<<(i%64)
	if b.seen[word]&bit == 0 {
		return
	}
	if b.keys == 1 {
		l.drop(b)
		return
	}
	b.seen[word] &^= bit
	b.keys--
	l.keys--
}

// sweep is the timer's function: it expires, and looks again while there are blocks.
func (l *eventLog) sweep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = nil
	if l.closed {
		return
	}
	now := time.Since(l.base)
	l.expire(now)
	if l.first != nil {
		wait := l.ttl - (now - l.first.touched)
		l.timer = time.AfterFunc(max(wait, l.ttl/sweepsPerTTL, minSweepInterval), l.sweep)
	}
}

// Stats returns a snapshot.
func (l *eventLog) Stats() TTLStoreStats {
	s := l.foreign.Stats()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(time.Since(l.base))
	s.Keys += l.keys
	s.Evicted += l.evicted
	s.Duplicates += l.duplicates
	return s
}

// Close forgets everything.
func (l *eventLog) Close() error {
	l.mu.Lock()
	l.closed = true
	l.blocks, l.first, l.last, l.hit, l.keys = nil, nil, nil, nil, 0
	if l.timer != nil {
		l.timer.Stop()
	}
	l.mu.Unlock()
	return l.foreign.Close()
}
