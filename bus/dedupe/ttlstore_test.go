package dedupe_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/leatbus/leat/bus/dedupe"
)

var (
	_ middleware.ExpiringKeyRepository = (*dedupe.TTLStore)(nil)
	_ dedupe.Store                     = (*dedupe.TTLStore)(nil)
)

func newStore(t testing.TB, ttl time.Duration, opts ...dedupe.TTLStoreOptions) *dedupe.TTLStore {
	t.Helper()
	s := dedupe.NewTTLStore(ttl, opts...)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func reserve(t testing.TB, s dedupe.Store, key string) bool {
	t.Helper()
	fresh, err := s.Reserve(context.Background(), key)
	require.NoError(t, err)
	return fresh
}

func TestTTLStoreRemembersForExactlyTheTTL(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, time.Second)
		assert.True(t, reserve(t, s, "a"))
		time.Sleep(time.Second - 1)
		assert.False(t, reserve(t, s, "a"), "one nanosecond before the TTL the key is remembered")
		assert.Equal(t, 1, s.Len())
		time.Sleep(time.Nanosecond)
		assert.Equal(t, 0, s.Len())
		assert.True(t, reserve(t, s, "a"), "at the TTL the key is forgotten; the refused Reserve did not prolong it")
	})
}

func TestTTLStoreCommitBeginsTheTimeAnew(t *testing.T) {
	t.Parallel()
	for _, other := range []bool{false, true} { // a key in between takes another path through the log
		t.Run(fmt.Sprintf("other=%t", other), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStore(t, time.Second)
				require.True(t, reserve(t, s, "a"))
				if other {
					require.True(t, reserve(t, s, "b"))
				}
				time.Sleep(600 * time.Millisecond)
				require.NoError(t, s.Commit(t.Context(), "a"))
				time.Sleep(999 * time.Millisecond)
				assert.False(t, reserve(t, s, "a"))
				assert.Equal(t, 1, s.Len(), "b, never committed, has expired")
				time.Sleep(time.Millisecond)
				assert.True(t, reserve(t, s, "a"))
			})
		})
	}
}

func TestTTLStoreCommitRemembersALostKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, time.Second)
		require.True(t, reserve(t, s, "slow"))
		time.Sleep(3 * time.Second)
		require.NoError(t, s.Commit(t.Context(), "slow"))
		assert.False(t, reserve(t, s, "slow"))
	})
}

func TestTTLStoreReleaseForgets(t *testing.T) {
	t.Parallel()
	s := newStore(t, time.Hour)
	require.NoError(t, s.Release(t.Context(), "unknown"))
	require.True(t, reserve(t, s, "a"))
	require.NoError(t, s.Release(t.Context(), "a"))
	assert.True(t, reserve(t, s, "a"))
	require.NoError(t, s.Commit(t.Context(), "a"))
	require.NoError(t, s.Release(t.Context(), "a"))
	assert.True(t, reserve(t, s, "a"), "a committed key is released too")
}

func TestTTLStoreEvictsTheOldestAndCountsIt(t *testing.T) {
	t.Parallel()
	s := newStore(t, time.Hour, dedupe.TTLStoreOptions{MaxKeys: 3, Shards: 1})
	for _, k := range []string{"a", "b", "c"} {
		require.True(t, reserve(t, s, k))
	}
	require.NoError(t, s.Commit(t.Context(), "a")) // now b is the oldest
	require.True(t, reserve(t, s, "d"))
	assert.Equal(t, dedupe.TTLStoreStats{Keys: 3, Evicted: 1}, s.Stats())
	for _, k := range []string{"a", "c", "d"} {
		assert.False(t, reserve(t, s, k), k)
	}
	assert.Equal(t, uint64(3), s.Stats().Duplicates)
	assert.True(t, reserve(t, s, "b"), "b was evicted")
}

func TestTTLStoreExpiredKeysMakeRoomUncounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, time.Second, dedupe.TTLStoreOptions{MaxKeys: 8, Shards: 1})
		for round := range 5 {
			for i := range 8 {
				require.True(t, reserve(t, s, strconv.Itoa(round*8+i)))
			}
			time.Sleep(time.Second)
		}
		for i := range 8 {
			require.NoError(t, s.Commit(t.Context(), "late"+strconv.Itoa(i)))
		}
		assert.Equal(t, dedupe.TTLStoreStats{Keys: 8}, s.Stats())
	})
}

func TestTTLStoreStaysWithinMaxKeys(t *testing.T) {
	t.Parallel()
	for _, o := range []dedupe.TTLStoreOptions{
		{MaxKeys: 1}, {MaxKeys: 1, Shards: 64}, {MaxKeys: 5, Shards: 3}, {MaxKeys: 1000}, {MaxKeys: 10_000, Shards: 16},
	} {
		t.Run(fmt.Sprintf("max=%d,shards=%d", o.MaxKeys, o.Shards), func(t *testing.T) {
			t.Parallel()
			s := newStore(t, time.Hour, o)
			const n = 30_000
			for i := range n {
				require.True(t, reserve(t, s, strconv.Itoa(i)))
			}
			st := s.Stats()
			assert.LessOrEqual(t, st.Keys, o.MaxKeys)
			assert.Greater(t, st.Keys, o.MaxKeys/2, "the bound is used")
			assert.Equal(t, uint64(n-st.Keys), st.Evicted, "every key is remembered or counted as evicted")
		})
	}
}

func TestTTLStoreSmallStoreIsExact(t *testing.T) {
	t.Parallel()
	s := newStore(t, time.Hour, dedupe.TTLStoreOptions{MaxKeys: 500})
	for i := range 500 {
		reserve(t, s, strconv.Itoa(i))
	}
	assert.Equal(t, dedupe.TTLStoreStats{Keys: 500}, s.Stats(), "the default shards of a small store evict nothing below MaxKeys")
}

func TestTTLStoreTakesAnyKeyAndTTL(t *testing.T) {
	t.Parallel()
	s := newStore(t, math.MaxInt64)
	keys := []string{"", "\x00", "\x00\x00", "a", "ä", string(make([]byte, 1<<20))}
	for _, k := range keys {
		assert.True(t, reserve(t, s, k))
	}
	for _, k := range keys {
		assert.False(t, reserve(t, s, k))
	}
}

func TestTTLStoreClose(t *testing.T) {
	t.Parallel()
	s := dedupe.NewTTLStore(time.Hour)
	require.True(t, reserve(t, s, "a"))
	require.False(t, reserve(t, s, "a"))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())

	fresh, err := s.Reserve(t.Context(), "b")
	assert.False(t, fresh)
	require.ErrorIs(t, err, dedupe.ErrClosed)
	dup, err := s.IsDuplicate(t.Context(), "a")
	assert.False(t, dup)
	require.ErrorIs(t, err, dedupe.ErrClosed)
	require.ErrorIs(t, s.Commit(t.Context(), "a"), dedupe.ErrClosed)
	require.ErrorIs(t, s.Release(t.Context(), "a"), dedupe.ErrClosed)
	assert.Equal(t, dedupe.TTLStoreStats{Duplicates: 1}, s.Stats())
	require.NoError(t, dedupe.NewTTLStore(time.Hour).Close(), "a store never used closes too")
}

func TestNewTTLStorePanicsOnNonsense(t *testing.T) {
	t.Parallel()
	assert.Panics(t, func() { dedupe.NewTTLStore(0) })
	assert.Panics(t, func() { dedupe.NewTTLStore(-time.Second) })
	assert.Panics(t, func() { dedupe.NewTTLStore(time.Second, dedupe.TTLStoreOptions{MaxKeys: -1}) })
	assert.Panics(t, func() { dedupe.NewTTLStore(time.Second, dedupe.TTLStoreOptions{Shards: -1}) })
	assert.Panics(t, func() { dedupe.NewTTLStore(time.Second, dedupe.TTLStoreOptions{}, dedupe.TTLStoreOptions{}) })
}

// Not parallel: it looks at all goroutines.
func TestTTLStoreRunsNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := dedupe.NewTTLStore(time.Hour)
	goleak.VerifyNone(t, before)
	require.True(t, reserve(t, s, "a"))
	goleak.VerifyNone(t, before)
	require.NoError(t, s.Close())
	goleak.VerifyNone(t, before)
}

func TestTTLStoreConcurrentReserveHasOneWinner(t *testing.T) {
	t.Parallel()
	s := newStore(t, time.Hour)
	for round := range 20 {
		key := strconv.Itoa(round)
		var winners atomic.Int32
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range 16 {
			wg.Go(func() {
				<-start
				if fresh, err := s.Reserve(context.Background(), key); err == nil && fresh {
					winners.Add(1)
				}
			})
		}
		close(start)
		wg.Wait()
		require.Equal(t, int32(1), winners.Load())
	}
	assert.Equal(t, 20, s.Len())
	assert.Equal(t, uint64(20*15), s.Stats().Duplicates)
}

func TestTTLStoreConcurrentUseAndClose(t *testing.T) {
	t.Parallel()
	s := dedupe.NewTTLStore(time.Millisecond, dedupe.TTLStoreOptions{MaxKeys: 256, Shards: 4}) // sweeps and evicts all the time
	var wg sync.WaitGroup
	var busy sync.WaitGroup
	for g := range 8 {
		busy.Add(1)
		wg.Go(func() {
			for i := 0; ; i++ {
				key := strconv.Itoa((g + i) % 400)
				_, err := s.Reserve(context.Background(), key)
				switch i % 3 {
				case 0:
					err = errors.Join(err, s.Commit(context.Background(), key))
				case 1:
					err = errors.Join(err, s.Release(context.Background(), key))
				}
				if i == 300 {
					busy.Done()
				}
				if err != nil {
					assert.ErrorIs(t, err, dedupe.ErrClosed)
					return
				}
				if n := s.Len(); n > 256 {
					t.Errorf("%d keys, more than MaxKeys", n)
				}
			}
		})
	}
	busy.Wait()
	for range 2 {
		wg.Go(func() { assert.NoError(t, s.Close()) })
	}
	wg.Wait()
	assert.Equal(t, 0, s.Len())
}

// storeModel is what a store with one shard must do, written for clearness: keys in the order in which they expire.
type storeModel struct {
	ttl                 time.Duration
	max                 int
	now                 time.Duration
	keys                []modelKey
	evicted, duplicates uint64
}

type modelKey struct {
	key     string
	expires time.Duration
}

func (m *storeModel) index(key string) int {
	m.keys = slices.DeleteFunc(m.keys, func(k modelKey) bool { return k.expires <= m.now })
	return slices.IndexFunc(m.keys, func(k modelKey) bool { return k.key == key })
}

func (m *storeModel) reserve(key string) bool {
	if m.index(key) >= 0 {
		m.duplicates++
		return false
	}
	m.commit(key)
	return true
}

func (m *storeModel) commit(key string) {
	m.release(key)
	if len(m.keys) == m.max {
		m.keys = m.keys[1:]
		m.evicted++
	}
	m.keys = append(m.keys, modelKey{key, m.now + m.ttl})
}

func (m *storeModel) release(key string) {
	if i := m.index(key); i >= 0 {
		m.keys = slices.Delete(m.keys, i, i+1)
	}
}

func (m *storeModel) stats() dedupe.TTLStoreStats {
	m.index("")
	return dedupe.TTLStoreStats{Keys: len(m.keys), Evicted: m.evicted, Duplicates: m.duplicates}
}

// bubbled hides that it is a *testing.T, whose Deadline may not be asked in a bubble.
type bubbled struct{ testing.TB }

func TestTTLStoreAgainstModel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubbled{t}, func(t *rapid.T) {
			const ttl = 100 * time.Millisecond
			m := &storeModel{ttl: ttl, max: rapid.SampledFrom([]int{1, 2, 40, 1000}).Draw(t, "max")}
			s := dedupe.NewTTLStore(ttl, dedupe.TTLStoreOptions{MaxKeys: m.max, Shards: 1})
			defer s.Close()
			// Each action takes a run of keys, so that the log and the index grow, wither and are rewritten.
			each := func(t *rapid.T, do func(key string)) {
				first, n := rapid.IntRange(0, 400).Draw(t, "first"), rapid.SampledFrom([]int{1, 2, 150}).Draw(t, "n")
				for i := range n {
					do(strconv.Itoa(first + i))
				}
			}
			t.Repeat(map[string]func(*rapid.T){
				"reserve": func(t *rapid.T) {
					each(t, func(key string) {
						fresh, err := s.Reserve(context.Background(), key)
						if want := m.reserve(key); err != nil || fresh != want {
							t.Fatalf("Reserve(%s) = %t, %v; want %t", key, fresh, err, want)
						}
					})
				},
				"commit": func(t *rapid.T) {
					each(t, func(key string) {
						m.commit(key)
						if err := s.Commit(context.Background(), key); err != nil {
							t.Fatal(err)
						}
					})
				},
				"release": func(t *rapid.T) {
					each(t, func(key string) {
						m.release(key)
						if err := s.Release(context.Background(), key); err != nil {
							t.Fatal(err)
						}
					})
				},
				"pass time": func(t *rapid.T) {
					d := time.Duration(rapid.IntRange(1, 60).Draw(t, "ms")) * time.Millisecond
					m.now += d
					time.Sleep(d)
				},
				"stats": func(t *rapid.T) { // no check after each action: it would remove what has expired
					if got, want := s.Stats(), m.stats(); got != want {
						t.Fatalf("stats %+v, want %+v", got, want)
					}
				},
			})
		})
	})
}

// heap returns the bytes in use after a collection. Its tests are not parallel.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// uuidKey makes a key of 36 bytes in an allocation of its own.
func uuidKey(i int) string { return fmt.Sprintf("%08d-0000-4000-8000-%012d", i, i) }

func TestTTLStoreMemoryIsBoundedAndComesBack(t *testing.T) {
	for _, n := range []int{100_000, 800_000, 1_000_000} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const ttl = time.Minute
				before := heap()
				s := newStore(t, ttl, dedupe.TTLStoreOptions{MaxKeys: 1 << 21})
				for range 2 { // the second time shows that the timer is armed anew
					for i := range n {
						if i == n/2 {
							time.Sleep(ttl / 2) // one sweep alone cannot remove all
						}
						_, _ = s.Reserve(context.Background(), uuidKey(i))
					}
					peak := heap() - before
					require.LessOrEqual(t, peak, int64(n)*120, "bytes a key: %.1f", float64(peak)/float64(n))
					time.Sleep(2 * ttl)
					synctest.Wait()
					require.Less(t, heap()-before, peak/10)
				}
				require.Equal(t, 0, s.Len())
			})
		})
	}
}

func TestTTLStoreMemoryFollowsKeysUnderTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100_000
		before := heap()
		s := newStore(t, time.Minute, dedupe.TTLStoreOptions{MaxKeys: 1 << 20, Shards: 1})
		require.True(t, reserve(t, s, "held")) // keeps the head of the log from moving on
		for i := range n {                     // two handlers that always fail, taking turns
			_, _ = s.Reserve(context.Background(), strconv.Itoa(i+1))
			_ = s.Release(context.Background(), strconv.Itoa(i))
		}
		assert.Equal(t, 2, s.Len())
		assert.Less(t, heap()-before, int64(64<<10))

		for _, k := range []string{"held", strconv.Itoa(n)} {
			require.NoError(t, s.Release(t.Context(), k))
		}
		for i := range n {
			_, _ = s.Reserve(context.Background(), strconv.Itoa(i))
		}
		for i := range n - 1 {
			_ = s.Release(context.Background(), strconv.Itoa(i))
		}
		assert.Equal(t, 1, s.Len())
		assert.Less(t, heap()-before, int64(64<<10), "what many keys took comes back though one is left and no time has passed")
	})
}

func TestTTLStoreEmptyIsSmall(t *testing.T) {
	const n = 1000
	stores := make([]*dedupe.TTLStore, n)
	before := heap()
	for i := range stores {
		stores[i] = dedupe.NewTTLStore(time.Minute, dedupe.TTLStoreOptions{MaxKeys: 1000})
	}
	assert.Less(t, (heap()-before)/n, int64(512), "bytes an empty store")
	runtime.KeepAlive(stores)
}

func TestTTLStoreAllocatesNothing(t *testing.T) {
	s := newStore(t, time.Hour, dedupe.TTLStoreOptions{MaxKeys: 1000, Shards: 1})
	keys := make([]string, 4000)
	for i := range keys {
		keys[i] = uuidKey(i)
		reserve(t, s, keys[i])
	}
	i := 0
	ctx := context.Background()
	allocs := testing.AllocsPerRun(20_000, func() {
		_, _ = s.Reserve(ctx, keys[i%len(keys)])
		_ = s.Commit(ctx, keys[i%len(keys)])
		i++
	})
	assert.Zero(t, allocs)
}

// MaxKeys is what the store holds, however it is divided.
func TestTTLStoreHoldsMaxKeysWithAnyShards(t *testing.T) {
	t.Parallel()
	for _, o := range []dedupe.TTLStoreOptions{
		{MaxKeys: 1000, Shards: 1024}, {MaxKeys: 1000}, {MaxKeys: 1, Shards: 2}, {MaxKeys: 4097, Shards: 1024}, {MaxKeys: 20_000, Shards: 16},
	} {
		s := newStore(t, time.Hour, o)
		for i := range o.MaxKeys {
			require.True(t, reserve(t, s, fmt.Sprint(i)))
		}
		require.Equal(t, dedupe.TTLStoreStats{Keys: o.MaxKeys}, s.Stats(), "%+v", o)
		for i := range 500 {
			require.True(t, reserve(t, s, fmt.Sprint("more ", i)))
			require.Equal(t, o.MaxKeys, s.Len(), "%+v", o)
		}
		require.EqualValues(t, 500, s.Stats().Evicted)
	}
}

func TestTTLStoreKeepsLittleOfALongKey(t *testing.T) {
	t.Parallel()
	s := newStore(t, time.Hour)
	long := strings.Repeat("x", 1<<20)
	for i := range 50 {
		key := long + fmt.Sprint(i)
		require.True(t, reserve(t, s, key))
		require.False(t, reserve(t, s, key))
		if i%2 == 0 {
			require.NoError(t, s.Commit(t.Context(), key))
			require.False(t, reserve(t, s, key))
		} else {
			require.NoError(t, s.Release(t.Context(), key))
			require.True(t, reserve(t, s, key))
		}
	}
	require.Equal(t, 50, s.Len())
}
