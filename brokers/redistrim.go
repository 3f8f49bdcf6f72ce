package brokers

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	redisBlock       = time.Second // of a read
	redisConnections = 4           // of a subscription: its read, an ack, two that claim and check
	redisTrims       = 10          // in one Retention
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
	retention := r.shared.opts.Retention
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
	if err := r.client.XTrimMinIDApprox(ctx, key, oldest, 0).Err(); err != nil {
		return err
	}
	if len(groups) > 0 {
		return r.client.Persist(ctx, key).Err()
	}
	return r.client.PExpire(ctx, key, 2*retention).Err()
}

// release lets others have at once what a consumer has read ahead, or not acked: it
// would be theirs after AckWait only.
func (r *redisStreams) release(key, group, consumer string) error {
	ctx, cancel := context.WithTimeout(context.Background(), redisBlock)
	defer cancel()
	pending, err := r.client.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: key, Group: group, Start: "-", End: "+", Count: 100, Consumer: consumer}).Result()
	if err != nil {
		return err
	}
	if len(pending) == 0 {
		return r.client.XGroupDelConsumer(ctx, key, group, consumer).Err()
	}
	claim := []any{"XCLAIM", key, group, consumer, 0}
	for _, p := range pending {
		claim = append(claim, p.ID)
	}
	claim = append(claim, "IDLE", (r.shared.opts.AckWait + time.Millisecond).Milliseconds(), "JUSTID") // as if it had been so long
	return r.client.Do(ctx, claim...).Err()
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
