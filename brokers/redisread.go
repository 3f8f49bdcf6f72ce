package brokers

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// redisReader waits for what comes on many streams, over one connection: for fan-out, or for the queues of a group. It has one goroutine.
// What waits for an entry says so, and is given one; meanwhile entries are Redis' own. A read that has begun is told of
// further streams by an entry of a stream that is the reader's alone.
type redisReader struct {
	streams *redisStreams
	group   string // empty: fan-out
	client  *redis.Client
	wakeKey string
	wakeID  string // of the last entry there; of the goroutine alone
	ctx     context.Context
	cancel  context.CancelFunc
	ended   chan struct{}
	changed chan struct{} // capacity 1: it is worth another look

	mu      sync.Mutex
	queues  map[string]*redisQueue // guarded by mu: by key
	waits   map[string][]*redisWait
	reading map[string]string // guarded by mu: the streams of the read that is under way, and behind what; nil if there is none
	woken   bool              // guarded by mu: that read was told
	lost    bool              // guarded by mu: groups are to be looked after at once
	claimAt time.Time         // guarded by mu: when to look for what was nacked, or is late
	tendAt  time.Time         // of the goroutine alone
	count   int               // of the goroutine alone: entries that the next read of a stream may bring
}

// redisWait is who waits for an entry of a stream.
type redisWait struct {
	after string             // of fan-out: the last entry that it had
	got   chan []*redisEntry // capacity 1
	back  chan struct{}      // capacity 1: the stream counts from an earlier entry than after
}

const (
	// What one read of a stream brings, at most: where entries are long, fewer of them.
	redisReadEntries = 256
	redisReadBytes   = 4 << 20
	// redisGrace is how long a reader waits for those to whom it has given something to come back, before it reads for the others.
	redisGrace = 2 * time.Millisecond
)

func newRedisReader(r *redisStreams, group string) *redisReader {
	options := *r.client.Options()
	options.PoolSize, options.MinIdleConns, options.MaxIdleConns, options.MaxRetries = 1, 0, 1, -1
	options.MaxActiveConns = 1
	w := &redisReader{streams: r, group: group, client: redis.NewClient(&options), wakeKey: r.shared.opts.Namespace + ":wake:" + uuid.NewString(),
		wakeID: "0-0", count: redisReadEntries, ended: make(chan struct{}), changed: make(chan struct{}, 1), queues: make(map[string]*redisQueue), waits: make(map[string][]*redisWait)}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	go w.run()
	return w
}

func (w *redisReader) add(q *redisQueue) {
	w.mu.Lock()
	w.queues[q.key] = q
	w.mu.Unlock()
	signal(w.changed)
}

// remove returns how many queues are left.
func (w *redisReader) remove(q *redisQueue) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.queues, q.key)
	return len(w.queues)
}

// close ends the reader, and waits for that.
func (w *redisReader) close() {
	w.cancel()
	w.wake(w.ctx) // what is read just now is given back
	timer := time.NewTimer(settleTime)
	defer timer.Stop()
	select {
	case <-w.ended:
	case <-timer.C:
	}
	_ = w.client.Close() // ends the read
	<-w.ended
	ctx, cancel := context.WithTimeout(context.Background(), redisBlock)
	defer cancel()
	_ = w.streams.client.Del(ctx, w.wakeKey).Err()
}

// wait returns an entry of a queue, or nil when ctx has ended.
func (w *redisReader) wait(ctx context.Context, key, after string) *redisEntry {
	wait := &redisWait{after: after, got: make(chan []*redisEntry, 1), back: make(chan struct{}, 1)}
	w.enlist(ctx, key, wait)
	select {
	case entries := <-wait.got:
		return entries[0]
	case <-ctx.Done():
	case <-w.ctx.Done():
	}
	if w.strike(key, wait) {
		return nil
	}
	return (<-wait.got)[0]
}

// enlist has the goroutine read for wait. If it reads without that stream, it is woken.
func (w *redisReader) enlist(ctx context.Context, key string, wait *redisWait) {
	w.mu.Lock()
	w.waits[key] = append(w.waits[key], wait)
	behind, read := w.reading[key]
	wake := w.reading != nil && !w.woken && (!read || w.group == "" && entryBefore(wait.after, behind))
	w.woken = w.woken || wake
	w.mu.Unlock()
	signal(w.changed)
	if wake {
		w.wake(ctx)
	}
}

// redisWake is a script since the client has a further pool of connections for pipelines.
var redisWake = redis.NewScript(`
	redis.call('XADD', KEYS[1], 'MAXLEN', 1, '*', '', '')
	return redis.call('PEXPIRE', KEYS[1], 60000)`)

func (w *redisReader) wake(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redisBlock)
	defer cancel()
	if err := redisWake.Run(ctx, w.streams.client, []string{w.wakeKey}).Err(); err != nil {
		w.debug("wake a reader", err) // its read ends within a second
	}
}

// strike takes wait off the list. False if it was given something.
func (w *redisReader) strike(key string, wait *redisWait) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, other := range w.waits[key] {
		if other == wait {
			w.cut(key, i)
			return true
		}
	}
	return false
}

// cut takes one off the list. w.mu is held.
func (w *redisReader) cut(key string, i int) {
	all := w.waits[key]
	if all = append(all[:i:i], all[i+1:]...); len(all) == 0 {
		delete(w.waits, key)
	} else {
		w.waits[key] = all
	}
}

// mend has the groups looked after at once.
func (w *redisReader) mend() {
	w.mu.Lock()
	w.lost = true
	w.mu.Unlock()
	signal(w.changed)
}

// look has it look for entries that are late in a while.
func (w *redisReader) look(in time.Duration) {
	at := time.Now().Add(in + time.Millisecond)
	w.mu.Lock()
	if at.Before(w.claimAt) {
		w.claimAt = at
	}
	wake := w.reading != nil && !w.woken
	w.woken = w.woken || wake
	w.mu.Unlock()
	if wake {
		w.wake(w.ctx)
	}
}

func (w *redisReader) debug(what string, err error) {
	if w.ctx.Err() == nil {
		w.streams.shared.opts.Logger.Debug(what, "group", w.group, "error", err)
	}
}

func (w *redisReader) run() {
	defer close(w.ended)
	for failures := 0; w.ctx.Err() == nil; {
		handed, err := w.turn()
		switch {
		case err == nil:
			failures = 0
		case redis.HasErrorPrefix(err, "NOGROUP"):
			w.mend()
			w.rest(takePause)
		default:
			w.debug("read", err)
			w.rest(min(takePause<<min(failures, 10), maxTakePause))
			failures++
		}
		w.grace(handed)
	}
}

func (w *redisReader) rest(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.ctx.Done():
	}
}

// grace waits until as many as were given something wait again, for a moment.
func (w *redisReader) grace(handed int) {
	if handed == 0 {
		return
	}
	timer := time.NewTimer(redisGrace)
	defer timer.Stop()
	for ; handed > 0; handed-- {
		select {
		case <-w.changed:
		case <-timer.C:
			return
		case <-w.ctx.Done():
			return
		}
	}
}

// turn looks after what is due, and reads once. It returns how many were given something.
func (w *redisReader) turn() (handed int, err error) {
	if err := w.tend(); err != nil {
		return 0, err
	}
	handed, err = w.claim()
	if err != nil || handed > 0 {
		return handed, err
	}
	keys, ids, block := w.begin()
	if len(keys) == 0 {
		timer := time.NewTimer(redisBlock)
		defer timer.Stop()
		select {
		case <-w.changed:
		case <-timer.C:
		case <-w.ctx.Done():
		}
		return 0, nil
	}
	streams, err := w.read(keys, ids, block)
	w.mu.Lock()
	behind := w.reading
	w.reading, w.woken = nil, false
	w.mu.Unlock()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	for i := range streams {
		handed += w.give(streams[i].Stream, behind[streams[i].Stream], streams[i].Messages)
	}
	return handed, err
}

// begin says what to read, and for how long.
func (w *redisReader) begin() (keys, ids []string, block time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reading = nil
	if len(w.waits) == 0 {
		return nil, nil, 0
	}
	keys, ids = []string{w.wakeKey}, []string{w.wakeID}
	if w.group != "" {
		ids[0] = ">"
	}
	w.reading, w.woken = make(map[string]string, len(w.waits)), false
	for key, waits := range w.waits {
		id := ">"
		if w.group == "" {
			id = waits[0].after
			for _, wait := range waits[1:] {
				if entryBefore(wait.after, id) {
					id = wait.after
				}
			}
		}
		keys, ids, w.reading[key] = append(keys, key), append(ids, id), id
	}
	block = redisBlock
	if w.group != "" {
		block = max(min(block, time.Until(w.claimAt)), time.Millisecond)
	}
	return keys, ids, block
}

func (w *redisReader) read(keys, ids []string, block time.Duration) ([]redis.XStream, error) {
	streams, ctx := append(keys, ids...), context.WithoutCancel(w.ctx) // close wakes it
	if w.group == "" {
		return w.client.XRead(ctx, &redis.XReadArgs{Streams: streams, Count: int64(w.count), Block: block}).Result()
	}
	return w.client.XReadGroup(ctx, &redis.XReadGroupArgs{Group: w.group, Consumer: w.streams.consumer, Streams: streams, Count: 1, Block: block}).Result()
}

// give hands on what was read of a stream behind an entry. Who came meanwhile, and is farther back, waits for the next read.
func (w *redisReader) give(key, behind string, messages []redis.XMessage) (handed int) {
	if len(messages) == 0 {
		return 0
	}
	if key == w.wakeKey {
		w.wakeID = messages[len(messages)-1].ID
		if w.group != "" {
			_ = w.streams.client.XAck(context.WithoutCancel(w.ctx), key, w.group, w.wakeID).Err()
		}
		return 0
	}
	entries, bytes := make([]*redisEntry, len(messages)), 0
	for i, m := range messages {
		entries[i] = &redisEntry{m.ID, m.Values}
		payload, _ := m.Values["payload"].(string)
		bytes += len(payload)
	}
	w.count = max(1, min(redisReadEntries, redisReadBytes/max(1, bytes/len(entries))))
	if w.group != "" {
		return w.giveOne(key, entries[0])
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.waits[key]) - 1; i >= 0; i-- {
		wait, news := w.waits[key][i], entries
		if entryBefore(wait.after, behind) {
			continue
		}
		for len(news) > 0 && !entryBefore(wait.after, news[0].id) {
			news = news[1:]
		}
		if len(news) > 0 {
			w.cut(key, i)
			wait.got <- news
			handed++
		}
	}
	return handed
}

// giveOne gives an entry to the one that has waited longest, or back to Redis.
func (w *redisReader) giveOne(key string, entry *redisEntry) (handed int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if waits := w.waits[key]; len(waits) > 0 {
		wait := waits[0]
		w.cut(key, 0)
		wait.got <- []*redisEntry{entry}
		return 1
	}
	go func() { // nobody waits any more
		ctx, cancel := context.WithTimeout(context.Background(), redisBlock)
		defer cancel()
		_ = redisIdle.Run(ctx, w.streams.client, []string{key}, w.group, w.streams.consumer, entry.id, w.streams.shared.opts.AckWait.Milliseconds()).Err()
	}()
	return 0
}

// tend looks about once a second whether everything is there that is read from.
func (w *redisReader) tend() error {
	w.mu.Lock()
	now := time.Now()
	due := w.lost || !now.Before(w.tendAt)
	queues := make([]*redisQueue, 0, len(w.queues))
	for _, q := range w.queues {
		queues = append(queues, q)
	}
	w.lost = false
	w.mu.Unlock()
	if !due {
		return nil
	}
	w.tendAt = now.Add(redisBlock)
	ctx, cancel := context.WithTimeout(w.ctx, leaseCall)
	defer cancel()
	if w.group == "" {
		return w.rewind(ctx)
	}
	err := w.streams.client.XGroupCreateMkStream(ctx, w.wakeKey, w.group, "0").Err()
	if redis.HasErrorPrefix(err, "BUSYGROUP") {
		err = nil
	}
	if err == nil {
		err = w.streams.client.PExpire(ctx, w.wakeKey, time.Minute).Err()
	}
	for _, q := range queues {
		if err == nil {
			err = q.tend(ctx)
		}
	}
	if err != nil {
		w.mend()
	}
	return err
}

// claim gives those that wait what is late, where that is due.
func (w *redisReader) claim() (handed int, err error) {
	if w.group == "" {
		return 0, nil
	}
	w.mu.Lock()
	now := time.Now()
	var queues []*redisQueue
	if !now.Before(w.claimAt) {
		w.claimAt = now.Add(max(min(w.streams.shared.opts.AckWait/4, redisBlock), 50*time.Millisecond))
		for key := range w.waits {
			if q := w.queues[key]; q != nil {
				queues = append(queues, q)
			}
		}
	}
	w.mu.Unlock()
	for _, q := range queues {
		entry, err := q.next(w.ctx)
		if err != nil {
			return handed, err
		}
		if entry != nil {
			if w.giveOne(q.key, entry) == 1 {
				handed++
				w.look(0) // there may be more
			}
		}
	}
	return handed, nil
}

// rewind tells those that wait for entries behind one that the stream does not have: it was made anew, or restored, and counts from an earlier
// one, so that what comes would be passed over.
func (w *redisReader) rewind(ctx context.Context) error {
	w.mu.Lock()
	keys := make([]string, 0, len(w.waits))
	for key := range w.waits {
		keys = append(keys, key)
	}
	w.mu.Unlock()
	for _, key := range keys {
		last, err := w.streams.last(ctx, key)
		if err != nil {
			return err
		}
		w.mu.Lock()
		for _, wait := range w.waits[key] {
			if entryBefore(last, wait.after) {
				signal(wait.back)
			}
		}
		w.mu.Unlock()
	}
	return nil
}
