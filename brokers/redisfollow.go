package brokers

import (
	"context"
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"
)

// redisFollow is a fan-out subscription: it has each entry behind the last one that it had.
type redisFollow struct {
	streams *redisStreams
	key     string
	after   string   // the last entry that it had
	recent  []string // the last ones, of which a stream that was restored may have lost some
	out     chan *message.Message
}

// redisRecent bounds recent.
const redisRecent = 256

func (f *redisFollow) run(ctx context.Context) {
	defer close(f.out)
	reader := f.streams.follows
	for ctx.Err() == nil {
		wait := &redisWait{after: f.after, got: make(chan []*redisEntry, 1), back: make(chan struct{}, 1)}
		reader.enlist(ctx, f.key, wait)
		select {
		case entries := <-wait.got:
			f.hand(ctx, entries)
			continue
		case <-wait.back:
		case <-ctx.Done():
		case <-reader.ctx.Done():
			return
		}
		if !reader.strike(f.key, wait) {
			f.hand(ctx, <-wait.got)
		} else if ctx.Err() == nil {
			f.rewind(ctx)
		}
	}
}

func (f *redisFollow) hand(ctx context.Context, entries []*redisEntry) {
	for _, e := range entries {
		if ctx.Err() != nil {
			return
		}
		if !slices.Contains(f.recent, e.id) {
			handOver(ctx, f.out, func() *message.Message { m, _ := redisCoder{}.Unmarshal(e.values); return m })
		}
		if f.after = e.id; len(f.recent) == redisRecent {
			f.recent = append(f.recent[:0], f.recent[1:]...)
		}
		f.recent = append(f.recent, e.id)
	}
}

// rewind begins again in a stream that has less than it had. What is in it and was read is in recent; of one that was made anew, all is new.
func (f *redisFollow) rewind(ctx context.Context) {
	last, err := f.streams.last(ctx, f.key)
	if err != nil || !entryBefore(last, f.after) {
		return
	}
	if len(f.recent) > 0 && entryBefore(f.recent[0], last) {
		last = f.recent[0]
	}
	f.streams.shared.opts.Logger.Warn("stream was lost or restored", "stream", f.key, "had", f.after, "goes_on_behind", last)
	f.after = last
}
