package dedupe_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leatbus/leat/bus/dedupe"
)

// benchKeys is a pool larger than any store here, so that a key taken from it in turn is fresh again, and reading the
// key itself costs the same in every benchmark.
func benchKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = uuidKey(i)
	}
	return keys
}

// BenchmarkTTLStoreReserveFresh keeps the store full: each Reserve of a fresh key also evicts the oldest.
func BenchmarkTTLStoreReserveFresh(b *testing.B) {
	keys := benchKeys(1 << 21)
	for _, live := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("live=%d", live), func(b *testing.B) {
			s := newStore(b, time.Hour, dedupe.TTLStoreOptions{MaxKeys: live, Shards: 8})
			ctx, i := context.Background(), 0
			next := func() {
				if fresh, _ := s.Reserve(ctx, keys[i%len(keys)]); !fresh {
					b.Fatal("not fresh")
				}
				i++
			}
			for range live + live/4 {
				next()
			}
			runtime.GC()
			b.ReportAllocs()
			for b.Loop() {
				next()
			}
		})
	}
}

func BenchmarkTTLStoreReserveDuplicate(b *testing.B) {
	s := newStore(b, time.Hour)
	keys := benchKeys(1000)
	ctx, i := context.Background(), 0
	b.ReportAllocs()
	for b.Loop() {
		_, _ = s.Reserve(ctx, keys[i%len(keys)])
		i++
	}
}

// BenchmarkTTLStoreReserveCommit works on 1,000 live keys. Fresh keys evict the oldest, known ones are refused and then
// prolonged, which moves them to the end of the log.
func BenchmarkTTLStoreReserveCommit(b *testing.B) {
	for name, pool := range map[string]int{"fresh": 4000, "known": 1000} {
		b.Run(name, func(b *testing.B) {
			s := newStore(b, time.Hour, dedupe.TTLStoreOptions{MaxKeys: 1000})
			keys := benchKeys(pool)
			ctx, i := context.Background(), 0
			b.ReportAllocs()
			for b.Loop() {
				key := keys[i%len(keys)]
				_, _ = s.Reserve(ctx, key)
				_ = s.Commit(ctx, key)
				i++
			}
		})
	}
}

func BenchmarkTTLStoreReserveRelease(b *testing.B) {
	s := newStore(b, time.Hour)
	keys := benchKeys(1000)
	ctx, i := context.Background(), 0
	b.ReportAllocs()
	for b.Loop() {
		key := keys[i%len(keys)]
		_, _ = s.Reserve(ctx, key)
		_ = s.Release(ctx, key)
		i++
	}
}

func BenchmarkTTLStoreReserveCommitParallel(b *testing.B) {
	s := newStore(b, time.Hour, dedupe.TTLStoreOptions{MaxKeys: 1 << 15})
	keys := benchKeys(1 << 17)
	var turn atomic.Uint64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx, i := context.Background(), int(turn.Add(1))*40_000
		for pb.Next() {
			key := keys[i%len(keys)]
			_, _ = s.Reserve(ctx, key)
			_ = s.Commit(ctx, key)
			i++
		}
	})
}

// BenchmarkTTLStoreMemory reports B/key, the bytes of a key of 36 bytes included.
func BenchmarkTTLStoreMemory(b *testing.B) {
	for _, live := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("live=%d", live), func(b *testing.B) {
			for b.Loop() {
				before := heap()
				s := dedupe.NewTTLStore(time.Hour, dedupe.TTLStoreOptions{MaxKeys: 1 << 21})
				for i := range live {
					_, _ = s.Reserve(context.Background(), uuidKey(i))
				}
				b.ReportMetric(float64(heap()-before)/float64(live), "B/key")
				_ = s.Close()
			}
		})
	}
}
