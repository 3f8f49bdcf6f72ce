package brokers

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// redisFollow is a fan-out subscription: it has each entry behind the last one that it had.
type redisFollow struct {
	streams *redisStreams
	key     string
	after   string   // the last entry that it had
	recent  []string // the last ones, of which a stream that was restored may have lost some
	next    int      // where in recent the next one goes
	had     string   // the last entry that it had when a stream went back
	out     chan *message.Message
	fn      func(*message.Message) // instead: it takes messages that are acked
}

// follow begins a fan-out subscription behind what is there now, for out or fn. ended is closed when it has ended.
func (r *redisStreams) follow(ctx context.Context, topic string, f *redisFollow) (ended <-chan struct{}, err error) {
	f.streams, f.key = r, r.key(topic)
	if f.after, err = r.last(ctx, f.key); err != nil {
		return nil, err
	}
	trimmed, done := r.trimmer(ctx, f.key), make(chan struct{})
	go func() {
		defer close(done)
		f.run(ctx)
		<-trimmed
	}()
	return done, nil
}

// subscribeFunc implements calling.
func (r *redisStreams) subscribeFunc(topic string, fn func(*message.Message)) (stop func(), ended <-chan struct{}, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	timer := time.AfterFunc(r.shared.opts.SubscribeTimeout, cancel)
	ended, err = r.follow(ctx, topic, &redisFollow{fn: fn})
	if !timer.Stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return cancel, ended, nil
}

// redisRecent bounds recent.
const redisRecent = 256

func (f *redisFollow) run(ctx context.Context) {
	if f.out != nil {
		defer close(f.out)
	}
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
		switch {
		case f.had != "" && !entryBefore(f.had, e.id) && slices.Contains(f.recent, e.id):
		case f.fn != nil:
			m, _ := redisCoder{}.Unmarshal(e.values)
			f.fn(m)
		default:
			pass(ctx, f.out, func() *message.Message { m, _ := redisCoder{}.Unmarshal(e.values); return m })
		}
		f.after = e.id
		if len(f.recent) < redisRecent {
			f.recent = append(f.recent, e.id)
		} else {
			f.recent[f.next] = e.id
			f.next = (f.next + 1) % redisRecent
		}
	}
}

// redisLate is by how much a server's clock may lag behind that of the one before it, and how long ago what is new was added at most.
const redisLate = 10 * time.Second

// rewind begins again in a stream that has less than it had. What is in it and was read is in recent, or old; the names of entries are times.
func (f *redisFollow) rewind(ctx context.Context) {
	last, err := f.streams.last(ctx, f.key)
	if err != nil || !entryBefore(last, f.after) {
		return
	}
	now, err := f.streams.client.Time(ctx).Result()
	if err != nil {
		return
	}
	oldest, new := "", strconv.FormatInt(now.Add(-redisLate).UnixMilli(), 10)+"-0"
	if len(f.recent) > 0 {
		oldest = f.recent[f.next%len(f.recent)]
	}
	switch {
	case oldest != "" && entryBefore(oldest, last):
		last = oldest
	case entryBefore(new, last):
		last = new
	}
	f.streams.shared.opts.Logger.Warn("stream was lost or restored", "stream", f.key, "had", f.after, "goes_on_behind", last)
	f.had, f.after = f.after, last
}
