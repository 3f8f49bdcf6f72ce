package brokers

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	redisBlock = time.Second // of a read
	redisTrims = 10          // in one Retention
)

// trimmer takes what is too old out of a stream, as long as somebody
// subscribes: nothing in Redis does. The channel is closed when it has ended.
func (r *redisStreams) trimmer(ctx context.Context, key string) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(max(r.shared.opts.Retention/redisTrims, redisBlock))
		defer tick.Stop()
		for {
			if err := r.trim(ctx, key); err != nil && ctx.Err() == nil {
				r.shared.opts.Logger.Debug("trim", "stream", key, "error", err)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ended
}

// trim removes entries older than Retention that no group still has to
// handle. A stream that nobody subscribes to any more goes with the last of it, unless it has a
// group.
func (r *redisStreams) trim(ctx context.Context, key string) error {
	groups, err := r.client.XInfoGroups(ctx, key).Result()
	if redis.HasErrorPrefix(err, "no such key") {
		return nil
	}
	if err != nil {
		return err
	}
	retention, err := r.raise(ctx)
	if err != nil {
		return err
	}
	now, err := r.client.Time(ctx).Result()
	if err != nil {
		return err
	}
	oldest := strconv.FormatInt(now.Add(-retention).UnixMilli(), 10) + "-0"
	for _, g := range groups {
		needed := g.LastDeliveredID // what comes after it has not been read
		if g.Pending > 0 {
			pending, err := r.client.XPending(ctx, key, g.Name).Result()
			if err != nil {
				return err
			}
			if pending.Count > 0 {
				needed = pending.Lower
			}
		}
		if entryBefore(needed, oldest) {
			oldest = needed
		}
	}
	trimmed, err := r.client.XTrimMinIDApprox(ctx, key, oldest, 0).Result()
	if err != nil {
		return err
	}
	r.shared.trimmed.Add(uint64(trimmed))
	if len(groups) > 0 {
		return r.client.Persist(ctx, key).Err()
	}
	return r.client.PExpire(ctx, key, 2*retention).Err()
}

// entryBefore compares the IDs of two entries, which are milliseconds and a
// number.
func entryBefore(a, b string) bool {
	am, an := entryID(a)
	bm, bn := entryID(b)
	return am < bm || am == bm && an < bn
}

func entryID(id string) (millis, number uint64) {
	m, n, _ := strings.Cut(id, "-")
	millis, _ = strconv.ParseUint(m, 10, 64)
	number, _ = strconv.ParseUint(n, 10, 64)
	return millis, number
}
