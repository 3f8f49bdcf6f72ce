package bus

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// logModel is what an eventLog must do, written for clearness. Blocks are in the order in which their last keys came.
type logModel struct {
	ttl, now            time.Duration
	max                 int
	blocks              []*modelBlock
	evicted, duplicates uint64
}

type modelBlock struct {
	prefix  string
	number  uint64
	touched time.Duration
	keys    []uint64 // in order
}

func (m *logModel) expire() {
	m.blocks = slices.DeleteFunc(m.blocks, func(b *modelBlock) bool { return len(b.keys) == 0 || m.now-b.touched >= m.ttl })
}

func (m *logModel) count() (n int) {
	for _, b := range m.blocks {
		n += len(b.keys)
	}
	return n
}

func (m *logModel) find(prefix string, n uint64) *modelBlock {
	m.expire()
	for _, b := range m.blocks {
		if b.prefix == prefix && b.number == n/1024 {
			return b
		}
	}
	return nil
}

func (m *logModel) reserve(prefix string, n uint64) bool {
	b := m.find(prefix, n)
	if b != nil && slices.Contains(b.keys, n) {
		m.duplicates++
		return false
	}
	if m.count() == m.max {
		m.blocks[0].keys = m.blocks[0].keys[1:]
		m.evicted++
	}
	if b == nil {
		b = &modelBlock{prefix: prefix, number: n / 1024}
	}
	m.blocks = slices.DeleteFunc(m.blocks, func(o *modelBlock) bool { return o == b })
	b.keys, b.touched = append(b.keys, n), m.now
	slices.Sort(b.keys)
	m.blocks = append(m.blocks, b)
	return true
}

func (m *logModel) release(prefix string, n uint64) {
	if b := m.find(prefix, n); b != nil {
		b.keys = slices.DeleteFunc(b.keys, func(k uint64) bool { return k == n })
	}
	m.expire()
}

func (m *logModel) stats() TTLStoreStats {
	m.expire()
	return TTLStoreStats{Keys: m.count(), Evicted: m.evicted, Duplicates: m.duplicates}
}

// madeID is the ID of the n-th event of a bus with that prefix.
func madeID(prefix string, n uint64) string {
	ids := eventIDs{prefix: prefix, n: n - 1}
	return ids.next()
}

// bubbled hides that it is a *testing.T, whose Deadline may not be asked in a bubble.
type bubbled struct{ testing.TB }

func TestEventLogAgainstModel(t *testing.T) {
	t.Parallel()
	prefixes := []string{newEventIDs().prefix, newEventIDs().prefix, newEventIDs().prefix}
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubbled{t}, func(t *rapid.T) {
			const ttl = 100 * time.Millisecond
			m := &logModel{ttl: ttl, max: rapid.SampledFrom([]int{1, 2, 40, 1000}).Draw(t, "max")}
			l := newEventLog(ttl, m.max)
			defer l.Close()
			each := func(t *rapid.T, do func(prefix string, n uint64)) {
				prefix := rapid.SampledFrom(prefixes).Draw(t, "prefix")
				first, n := rapid.IntRange(1, 3*1024).Draw(t, "first"), rapid.SampledFrom([]int{1, 2, 150}).Draw(t, "n")
				step := rapid.SampledFrom([]int{1, 7, 1024}).Draw(t, "step")
				for i := range n {
					do(prefix, uint64(first+i*step))
				}
			}
			t.Repeat(map[string]func(*rapid.T){
				"reserve": func(t *rapid.T) {
					each(t, func(prefix string, n uint64) {
						fresh, err := l.Reserve(context.Background(), madeID(prefix, n))
						if want := m.reserve(prefix, n); err != nil || fresh != want {
							t.Fatalf("Reserve(%s, %d) = %t, %v; want %t", prefix, n, fresh, err, want)
						}
					})
				},
				"release": func(t *rapid.T) {
					each(t, func(prefix string, n uint64) {
						m.release(prefix, n)
						if err := l.Release(context.Background(), madeID(prefix, n)); err != nil {
							t.Fatal(err)
						}
					})
				},
				"pass time": func(t *rapid.T) {
					d := time.Duration(rapid.IntRange(1, 60).Draw(t, "ms")) * time.Millisecond
					m.now += d
					time.Sleep(d)
				},
				"stats": func(t *rapid.T) {
					if got, want := l.Stats(), m.stats(); got != want {
						t.Fatalf("stats %+v, want %+v", got, want)
					}
				},
			})
		})
	})
}

func TestEventLogForgetsNoKeyBeforeTheTTLAndAllOfThemAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newEventLog(time.Second, 1<<20)
		defer l.Close()
		ids := map[string]string{
			"made by a bus":       newEventIDs().next(),
			"a UUID":              NewID(),
			"a version 8 UUID":    "00000000-0000-8000-8000-00000000000f",
			"in capitals":         "00000000-0000-8000-8000-00000000000F",
			"36 bytes, version 8": "not a UUID, o8r is it? 0123456789abc",
			"opaque":              "1",
		}
		for name, id := range ids {
			fresh, err := l.Reserve(t.Context(), id)
			require.NoError(t, err)
			assert.True(t, fresh, name)
		}
		time.Sleep(time.Second - 1)
		for name, id := range ids {
			fresh, _ := l.Reserve(t.Context(), id)
			assert.False(t, fresh, name)
		}
		assert.Equal(t, TTLStoreStats{Keys: len(ids), Duplicates: uint64(len(ids))}, l.Stats())
		time.Sleep(time.Nanosecond)
		assert.Zero(t, l.Stats().Keys)
		for name, id := range ids {
			fresh, _ := l.Reserve(t.Context(), id)
			assert.True(t, fresh, name)
		}
		require.NoError(t, l.Close())
		for name, id := range ids {
			_, err := l.Reserve(t.Context(), id)
			assert.ErrorIs(t, err, ErrStoreClosed, name)
		}
	})
}

// Its tests are not parallel: they count bytes.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestEventLogMemory(t *testing.T) {
	const n = 40_000
	ids := newEventIDs()
	for _, c := range []struct {
		name  string
		id    func(i int) string
		bytes float64 // a key, at most
	}{
		{"in order", func(int) string { return ids.next() }, 1},
		// What somebody can do who makes IDs up. The bound holds for them too.
		{"each in a block of its own", func(i int) string { return madeID(ids.prefix, uint64(i+1)*blockKeys) }, 500},
		{"each with a prefix of its own", func(i int) string {
			return fmt.Sprintf("%08x-0000-8000-8000-000000000001", i)
		}, 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := inUse()
				l := newEventLog(time.Minute, n/2)
				defer l.Close()
				for i := range n {
					fresh, _ := l.Reserve(context.Background(), c.id(i))
					require.True(t, fresh)
				}
				used := inUse() - before
				assert.LessOrEqual(t, float64(used), c.bytes*n/2+1<<16, "bytes a key: %.1f", float64(used)/(n/2))
				assert.Equal(t, TTLStoreStats{Keys: n / 2, Evicted: n / 2}, l.Stats())
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				assert.Less(t, inUse()-before, max(used/2, 1<<16), "it shrinks")
				assert.Zero(t, l.Stats().Keys)
			})
		})
	}
}

func TestAnEventOfItsOwnIsKnownByItsID(t *testing.T) {
	t.Parallel()
	ids, others := newEventIDs(), newEventIDs()
	seen := map[string]bool{}
	for range 5000 {
		id := ids.next()
		assert.False(t, seen[id])
		seen[id] = true
		assert.True(t, ids.made(id))
		assert.False(t, others.made(id))
		assert.Len(t, messageUUID(id), 36)
		assert.Equal(t, id, messageUUID(id), "it goes out as the UUID of the message")
	}
	for _, id := range []string{"", ids.prefix, ids.prefix + "00000000001", ids.prefix + "0000000000001"} {
		assert.False(t, ids.made(id), id)
	}
}
