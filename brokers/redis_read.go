package brokers

import (
	"context"
	"errors"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
)

// What one XREAD brings, at most: where entries are long, fewer of them.
const (
	redisReadEntries = 256
	redisReadBytes   = 4 << 20
)

// subscribeFunc reads many entries at a time. The adapter reads one, which is a round trip each: with four workers that answer one
// caller, each with a reply at a time, the server did little else.
func (r *redisStreams) subscribeFunc(topic string, fn func(*message.Message)) (stop func(), ended <-chan struct{}, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	key := r.key(topic)
	starting, started := context.WithTimeout(ctx, r.shared.opts.SubscribeTimeout)
	defer started()
	last, err := r.last(starting, key)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	options := *r.client.Options()
	options.PoolSize, options.MinIdleConns = 1, 0
	client := redis.NewClient(&options) // of its own: a read keeps its connection
	reader := &redisReader{streams: r, client: client, key: key, last: last, count: redisReadEntries, fn: fn}
	trimmed, done := r.trimmer(ctx, key), make(chan struct{})
	go func() {
		defer close(done)
		reader.run(ctx)
		_ = client.Close()
		<-trimmed
	}()
	context.AfterFunc(ctx, func() { _ = client.Close() }) // ends a read that waits
	return cancel, done, nil
}

// redisReader reads a stream from behind the entry that it had last.
type redisReader struct {
	streams *redisStreams
	client  *redis.Client
	key     string
	last    string
	count   int
	fn      func(*message.Message)
}

func (r *redisReader) run(ctx context.Context) {
	for ctx.Err() == nil {
		entries, err := r.read(ctx)
		if err != nil && ctx.Err() == nil {
			r.streams.shared.opts.Logger.Debug("read", "stream", r.key, "error", err)
			r.rest(ctx)
		}
		bytes := 0
		for _, e := range entries {
			if ctx.Err() != nil {
				return
			}
			m, _ := redisCoder{}.Unmarshal(e.Values) // never fails
			bytes += len(m.Payload)
			r.last = e.ID
			r.fn(m)
		}
		if n := len(entries); n > 0 {
			r.count = max(1, min(redisReadEntries, redisReadBytes/max(1, bytes/n)))
		}
	}
}

func (r *redisReader) read(ctx context.Context) ([]redis.XMessage, error) {
	streams, err := r.client.XRead(ctx, &redis.XReadArgs{Streams: []string{r.key, r.last}, Count: int64(r.count), Block: redisBlock}).Result()
	if errors.Is(err, redis.Nil) || err == nil && len(streams) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return streams[0].Messages, nil
}

// redisRest is how long a reader waits when it could not read.
const redisRest = 500 * time.Millisecond

func (r *redisReader) rest(ctx context.Context) {
	timer := time.NewTimer(redisRest)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
