package dedupe

import (
	"math"
	"math/bits"
	"sync"
)

const (
	chunkLen     = 32   // entries in a chunk: small enough for a store of a few keys, large enough to allocate seldom
	minIndex     = 16   // slots of the smallest index
	expireStep   = 4    // expired entries that a call removes on its way, so that steady traffic leaves little to the timer
	sweepStep    = 1024 // entries that a sweep removes before it lets callers at the shard
	compactFloor = 64   // dead entries below which compaction is not worth its allocation
	refMask      = math.MaxUint32
)

// ttlEntry is one line of a shard's log.
type ttlEntry struct {
	key     string
	expires int64  // nanoseconds after the store's base; 0 marks a dead entry, which no index slot names
	tag     uint64 // see tagOf: eight bytes spare a look at the key's bytes, far away in memory, when the entry goes
}

type ttlChunk [chunkLen]ttlEntry

// ttlShard is a log of keys in the order in which they expire, and an index into it.
//
// All keys live equally long, so the log is in order of expiry by construction: what expires and what is evicted is
// always at its head, and the log gives its memory back chunk by chunk. The index is an open-addressed table with linear
// probing and no tombstones. A slot is the upper half of the key's hash (lowest bit set, so that 0 means empty) and the
// lower half of the entry's position in the log; it holds no pointer, and is moved and resized without a look at the keys.
//
// The log neither begins nor ends with a dead entry, and is rewritten when most of it is dead.
type ttlShard struct {
	mu         sync.Mutex  // guards all fields below; every method but sweep expects it held
	index      []uint64    // nil until the first key; a power of two
	chunks     []*ttlChunk // hold the positions from head to tail, counted from head rounded down to a chunk
	spare      *ttlChunk   // the last chunk that fell free, kept so that steady traffic allocates nothing
	head, tail uint64      // positions of the oldest entry and after the newest
	dead       int         // entries between head and tail that are forgotten or moved
	evicted    uint64
	duplicates uint64
	store      *TTLStore
	shift      uint8 // 64 - log2(len(index)): a slot's home is slot >> shift
	closed     bool
	_          [8]byte // two cache lines: neighbours in the store's slice share none
}

func (s *ttlShard) live() int { return int(s.tail-s.head) - s.dead }

func (s *ttlShard) at(pos uint64) *ttlEntry {
	return &s.chunks[pos/chunkLen-s.head/chunkLen][pos%chunkLen]
}

// reserve adds the key unless it is there and not expired.
func (s *ttlShard) reserve(key string, tag uint64, now, ttl int64) bool {
	s.expire(now, expireStep)
	if slot, pos, ok := s.find(key, tag); ok {
		if s.at(pos).expires > now {
			s.duplicates++
			return false
		}
		s.forget(slot, pos)
	}
	s.add(key, tag, now, ttl)
	return true
}

// commit lets the key's time begin anew, and adds the key if it is gone.
func (s *ttlShard) commit(key string, tag uint64, now, ttl int64) {
	if s.head < s.tail { // mostly nothing came in between, and the key is the newest already
		if e := s.at(s.tail - 1); e.tag == tag && e.key == key {
			e.expires = now + ttl
			return
		}
	}
	slot, pos, ok := s.find(key, tag)
	if !ok {
		s.add(key, tag, now, ttl)
		return
	}
	held := s.at(pos).key // not the caller's copy: one string less to keep alive
	s.index[slot] = tag | s.push(held, tag, now+ttl)&refMask
	s.bury(pos)
}

func (s *ttlShard) release(key string, tag uint64) {
	if slot, pos, ok := s.find(key, tag); ok {
		s.forget(slot, pos)
	}
}

// add appends a key that is not in the index. At the bound the oldest makes room.
func (s *ttlShard) add(key string, tag uint64, now, ttl int64) {
	s.makeRoom(s.store.max-1, now)
	if (s.live()+1)*4 > len(s.index)*3 {
		s.resize(max(minIndex, len(s.index)*2))
	}
	s.link(tag | s.push(key, tag, now+ttl)&refMask)
	s.store.keys.Add(1)
}

// makeRoom gives up the oldest keys while the store has more than that.
func (s *ttlShard) makeRoom(most, now int64) {
	for s.live() > 0 && s.store.keys.Load() > most {
		if s.at(s.head).expires > now {
			s.evicted++
		}
		s.popHead()
	}
}

// expire removes up to limit entries whose time is over.
func (s *ttlShard) expire(now int64, limit int) {
	for ; limit > 0 && s.head < s.tail && s.at(s.head).expires <= now; limit-- {
		s.popHead()
	}
}

// sweep removes what has expired and frees what an empty shard holds. It returns when the oldest key left expires, 0
// where none is left. It takes and leaves the lock, several times if there is much to remove.
func (s *ttlShard) sweep(clock func() int64) (next int64) {
	for {
		s.mu.Lock()
		now := clock()
		if s.head == s.tail || s.at(s.tail-1).expires <= now {
			s.clear()
			s.mu.Unlock()
			return 0
		}
		s.expire(now, sweepStep)
		s.spare = nil
		next = s.at(s.head).expires
		s.mu.Unlock()
		if next > now {
			return next
		}
	}
}

// clear forgets every key and lets go of the memory.
func (s *ttlShard) clear() {
	s.store.keys.Add(-int64(s.live()))
	s.reset()
}

// reset empties the shard, and does not count its keys out.
func (s *ttlShard) reset() {
	s.index, s.chunks, s.spare = nil, nil, nil
	s.head, s.tail, s.dead = 0, 0, 0
}

// push appends to the log and returns the position.
func (s *ttlShard) push(key string, tag uint64, expires int64) uint64 {
	if s.tail%chunkLen == 0 {
		c := s.spare
		if s.spare = nil; c == nil {
			c = new(ttlChunk)
		}
		s.chunks = append(s.chunks, c)
	}
	pos := s.tail
	s.tail++
	*s.at(pos) = ttlEntry{key: key, expires: expires, tag: tag}
	return pos
}

// popHead removes the oldest entry, which is never a dead one, and the dead ones behind it.
func (s *ttlShard) popHead() {
	s.store.keys.Add(-1)
	s.unlink(s.slotOf(s.head))
	*s.at(s.head) = ttlEntry{}
	s.dead++
	s.trim()
	s.shrink()
}

// forget removes the entry at pos, which slot names.
func (s *ttlShard) forget(slot int, pos uint64) {
	s.store.keys.Add(-1)
	s.unlink(slot)
	s.bury(pos)
	s.shrink()
}

// bury marks an entry that no slot names any more as dead.
func (s *ttlShard) bury(pos uint64) {
	*s.at(pos) = ttlEntry{}
	s.dead++
	s.trim()
	if s.dead >= compactFloor && s.dead > s.live() {
		s.compact()
	}
}

// trim takes the dead entries off both ends of the log.
func (s *ttlShard) trim() {
	for s.head < s.tail && s.at(s.head).expires == 0 {
		s.head++
		s.dead--
		if s.head%chunkLen == 0 {
			s.spare, s.chunks[0] = s.chunks[0], nil
			s.chunks = s.chunks[1:]
		}
	}
	for s.head < s.tail && s.at(s.tail-1).expires == 0 {
		s.tail--
		s.dead--
		if s.tail%chunkLen == 0 {
			last := len(s.chunks) - 1
			s.spare, s.chunks[last] = s.chunks[last], nil
			s.chunks = s.chunks[:last]
		}
	}
}

// compact rewrites the log without its dead entries. At least as many keys died since the last time as are copied.
func (s *ttlShard) compact() {
	old, pos, end := s.chunks, s.head, s.tail
	first := pos / chunkLen
	size := indexSize(s.live())
	s.reset()
	s.resize(size)
	for ; pos < end; pos++ {
		if e := old[pos/chunkLen-first][pos%chunkLen]; e.expires != 0 {
			s.link(e.tag | s.push(e.key, e.tag, e.expires)&refMask)
		}
		if pos%chunkLen == chunkLen-1 {
			old[pos/chunkLen-first] = nil // the old log goes as the new one grows
		}
	}
}

// tagOf returns the half of the hash that a slot keeps. The shard was chosen by the other half.
func tagOf(hash uint64) uint64 { return (hash | 1<<32) &^ refMask }

// indexSize returns how many slots suit n keys: half of them or fewer are taken, with room to grow.
func indexSize(n int) int { return max(minIndex, 1<<bits.Len(uint(2*n))) }

func (s *ttlShard) find(key string, tag uint64) (slot int, pos uint64, ok bool) {
	if len(s.index) == 0 {
		return 0, 0, false
	}
	mask := len(s.index) - 1
	for i := int(tag >> s.shift); s.index[i] != 0; i = (i + 1) & mask {
		if s.index[i]&^refMask != tag {
			continue
		}
		if pos = s.position(s.index[i]); s.at(pos).key == key {
			return i, pos, true
		}
	}
	return 0, 0, false
}

// position restores the upper half of a position from head: fewer than 2^32 entries lie between head and tail.
func (s *ttlShard) position(slot uint64) uint64 {
	return s.head + uint64(uint32(slot)-uint32(s.head))
}

// slotOf finds the slot that names the live entry at pos.
func (s *ttlShard) slotOf(pos uint64) int {
	want := s.at(pos).tag | pos&refMask
	i, mask := int(want>>s.shift), len(s.index)-1
	for s.index[i] != want {
		i = (i + 1) & mask
	}
	return i
}

// link puts a slot into the index, which has room.
func (s *ttlShard) link(slot uint64) {
	i, mask := int(slot>>s.shift), len(s.index)-1
	for s.index[i] != 0 {
		i = (i + 1) & mask
	}
	s.index[i] = slot
}

// unlink empties the i-th slot and moves up those behind it that the gap would hide.
func (s *ttlShard) unlink(i int) {
	mask := len(s.index) - 1
	for j := (i + 1) & mask; s.index[j] != 0; j = (j + 1) & mask {
		home := int(s.index[j] >> s.shift)
		if (j-home)&mask >= (j-i)&mask {
			s.index[i] = s.index[j]
			i = j
		}
	}
	s.index[i] = 0
}

// shrink keeps the index in proportion to the keys, with slack enough that it does not flutter.
func (s *ttlShard) shrink() {
	if len(s.index) > minIndex && s.live()*8 < len(s.index) {
		s.resize(max(minIndex, len(s.index)/4))
	}
}

func (s *ttlShard) resize(size int) {
	old := s.index
	s.index = make([]uint64, size)
	s.shift = uint8(64 - bits.TrailingZeros(uint(size)))
	for _, slot := range old {
		if slot != 0 {
			s.link(slot)
		}
	}
}
