package scale

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leatbus/leat/bus/dedupe"
)

// key has the length of a UUID, which is what keys are. It is cheap to make, since making it is part of the operation.
func key(i int) string {
	var k [36]byte
	for at := len(k) - 1; at >= 0; at-- {
		k[at] = byte('0' + i%10)
		i /= 10
	}
	return string(k[:])
}

// Dedupe fills a store with n live keys, and keeps it so: each further key evicts the oldest. An item is a key, its
// 36 bytes included.
func Dedupe(n int) (*Rig, error) {
	before := Used()
	s := dedupe.NewTTLStore(time.Hour, dedupe.TTLStoreOptions{MaxKeys: n})
	ctx, i := context.Background(), 0
	op := func(context.Context) error {
		fresh, err := s.Reserve(ctx, key(i))
		if err == nil && !fresh {
			err = errors.New("not fresh")
		}
		i++
		return err
	}
	for range n + n/4 { // shards fill unevenly
		if err := op(ctx); err != nil {
			return nil, err
		}
	}
	return &Rig{op, (Used() - before) / float64(s.Len()), func() { _ = s.Close() }}, nil
}

var errExpired = errors.New("keys expired while the store was filled")

// DedupeShrinks fills a store with n keys, waits two TTLs, and returns which part of the peak is still in use. The TTL is
// doubled, a few times, where this machine does not fill the store within it.
func DedupeShrinks(n int, ttl time.Duration) (float64, error) {
	for attempt := 1; ; attempt++ {
		part, err := dedupeShrinks(n, ttl)
		if !errors.Is(err, errExpired) || attempt == 8 {
			return part, err
		}
		ttl *= 2
	}
}

func dedupeShrinks(n int, ttl time.Duration) (float64, error) {
	before := Used()
	s := dedupe.NewTTLStore(ttl, dedupe.TTLStoreOptions{MaxKeys: 2 * n})
	defer func() { _ = s.Close() }()
	for i := range n {
		if _, err := s.Reserve(context.Background(), key(i)); err != nil {
			return 0, err
		}
	}
	full := time.Now()
	if got := s.Len(); got != n {
		return 0, fmt.Errorf("%d keys are live of %d, TTL %v: %w", got, n, ttl, errExpired)
	}
	peak := Used() - before
	time.Sleep(time.Until(full.Add(2 * ttl)))
	after := Used() - before
	return max(after, 0) / peak, nil
}
