package brokers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
)

// A group has a stream of its own for each topic, with the entries that wait or are out: it is refused what does not fit, and an entry
// goes when it is acked. A set for each topic names its groups.

func (r *redisStreams) groupsKey(topic string) string {
	return r.shared.opts.Namespace + ":groups:" + topic
}
func (r *redisStreams) queueKey(topic, group string) string {
	return r.shared.opts.Namespace + ":queue:" + topic + ":" + group
}

// redisFull begins the error of a queue without room.
const redisFull = "QUEUEFULL"

var (
	// redisPublish adds entries to the queues of all groups of a topic and to its own stream, all or none. It returns how many entries
	// the stream has lost for that.
	redisPublish = redis.NewScript(`
		local max, n, queues = math.max(tonumber(ARGV[2]), tonumber(redis.call('HGET', KEYS[3], 'messages') or 0)), tonumber(ARGV[3]), {}
		for _, group in ipairs(redis.call('SMEMBERS', KEYS[2])) do
			local queue = ARGV[1] .. group
			if redis.call('XLEN', queue) + n > max then return redis.error_reply('QUEUEFULL ' .. group) end
			queues[#queues + 1] = queue
		end
		local at = 4
		for _ = 1, n do
			local last = at + tonumber(ARGV[at])
			for _, queue in ipairs(queues) do redis.call('XADD', queue, '*', unpack(ARGV, at + 1, last)) end
			redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, last))
			at = last + 1
		end
		return redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', max)`)
	// redisPut adds entries to one queue, all or none.
	redisPut = redis.NewScript(`
		local n, at = tonumber(ARGV[2]), 3
		local max = math.max(tonumber(ARGV[1]), tonumber(redis.call('HGET', KEYS[2], 'messages') or 0))
		if redis.call('XLEN', KEYS[1]) + n > max then return redis.error_reply('QUEUEFULL') end
		for _ = 1, n do
			local last = at + tonumber(ARGV[at])
			redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, last))
			at = last + 1
		end
		return 0`)
	// redisTend makes a group that is not there. One that has lost its place in the set gets what was published to the topic since its last
	// entry, and since the subscription was made (its first time, without that, says when that is). It returns that, and what was lost.
	redisTend = redis.NewScript(`
		local function last(key)
			local info = redis.pcall('XINFO', 'STREAM', key)
			if info.err then return '0-0' end
			for i = 1, #info, 2 do if info[i] == 'last-generated-id' then return info[i + 1] end end
		end
		local since, lost = ARGV[2], 0
		if not redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM').err then lost = 1 end
		if redis.call('SADD', KEYS[2], ARGV[1]) == 1 then
			lost = lost + 2
			if since ~= '' then
				local function time(id) return tonumber(string.match(id, '%d+')) end
				local from = last(KEYS[1])
				if time(from) < time(since) then from = since else from = string.format('%.0f-0', time(from) + 1) end
				for _, entry in ipairs(redis.call('XRANGE', KEYS[3], from, '+', 'COUNT', ARGV[3])) do
					if entry[1] ~= since then redis.call('XADD', KEYS[1], '*', unpack(entry[2])) end
				end
			end
		end
		if since == '' then since = last(KEYS[3]) end
		return {since, lost}`)
	// redisTake gives a consumer an entry: one that has been out for too long, or else the next.
	redisTake = redis.NewScript(`
		local late = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], '-', '+', 1)
		if #late > 0 then
			local got = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, late[1][1])
			if got[1] then return got[1] end
			redis.call('XACK', KEYS[1], ARGV[1], late[1][1])
		end
		local new = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', 1, 'STREAMS', KEYS[1], '>')
		return new and new[1][2][1]`)
	// redisIdle sets how long an entry that the consumer has out has been so.
	redisIdle = redis.NewScript(`
		if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2]) == 0 then return 0 end
		redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'IDLE', ARGV[4], 'JUSTID')
		return 1`)
	redisAck = redis.NewScript(`
		local was = redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
		if was == 1 then redis.call('XDEL', KEYS[1], ARGV[2]) end
		return was`)
	// redisDismiss removes consumers that have nothing out and were not seen for long, or the one that is named.
	redisDismiss = redis.NewScript(`
		for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
			local c = {}
			for i = 1, #info, 2 do c[info[i]] = info[i + 1] end
			if c.pending == 0 and (c.name == ARGV[2] or c.idle > tonumber(ARGV[3])) then
				redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], c.name)
			end
		end`)
)

// script has a script add the entries of a window at a time: args are what it gets in front of these.
func (r *redisStreams) script(script *redis.Script, keys []string, topic string, messages []*message.Message, args ...any) error {
	all, err := encodeAll(messages, r.limit, func(m *message.Message) (encoded[[]any], error) {
		entry, size, err := encodeRedis(m)
		return encoded[[]any]{entry, size}, err
	})
	if err != nil {
		return err
	}
	err = inWindows(all, func(window [][]any) (int, error) {
		values := append(args[:len(args):len(args)], len(window))
		for _, entry := range window {
			values = append(append(values, len(entry)), entry...)
		}
		trimmed, err := script.Run(context.Background(), r.client, keys, values...).Int64()
		if err == nil {
			r.shared.trimmed.Add(uint64(trimmed))
		}
		return 0, err
	})
	if redis.HasErrorPrefix(errors.Unwrap(err), redisFull) {
		return full(err, topic)
	}
	return err
}

// Publish adds the entries of a window by one script, to the topic's stream and to the queues of its groups: all of them or none.
func (r *redisStreams) Publish(topic string, messages ...*message.Message) error {
	return r.script(redisPublish, []string{r.key(topic), r.groupsKey(topic), r.limitsKey()}, topic, messages, r.queueKey(topic, ""), r.shared.opts.MaxMessages)
}

// publishTo puts messages into the queue of a group, be it there already or not.
func (r *redisStreams) publishTo(group, topic string, messages []*message.Message) error {
	return r.script(redisPut, []string{r.queueKey(topic, group), r.limitsKey()}, topic, messages, r.shared.opts.MaxMessages)
}

// limits are what the processes of the namespace have promised to keep: the largest of each counts.
func (r *redisStreams) limitsKey() string { return r.shared.opts.Namespace + "::limits" }

// redisRaise raises limits, and returns them.
var redisRaise = redis.NewScript(`
	local limits = {}
	for i, name in ipairs({'messages', 'retention'}) do
		local has = tonumber(redis.call('HGET', KEYS[1], name) or 0)
		if has < tonumber(ARGV[i]) then redis.call('HSET', KEYS[1], name, ARGV[i]) end
		limits[i] = math.max(has, tonumber(ARGV[i]))
	end
	return limits`)

// raise raises the limits of the namespace to those of Options, and returns for how long entries are kept.
func (r *redisStreams) raise(ctx context.Context) (retention time.Duration, err error) {
	o := r.shared.opts
	limits, err := redisRaise.Run(ctx, r.client, []string{r.limitsKey()}, o.MaxMessages, o.Retention.Milliseconds()).Int64Slice()
	if err != nil {
		return 0, err
	}
	if len(limits) != 2 {
		return 0, errors.New("unexpected answer of a script")
	}
	messages, retention := limits[0], time.Duration(limits[1])*time.Millisecond
	if messages > o.MaxMessages || retention > o.Retention.Truncate(time.Millisecond) {
		r.shared.limitsStay(r.limitsKey(), "MaxMessages", messages, "Retention", retention)
	}
	return retention, nil
}

// redisTaker is a subscription of a group.
type redisTaker struct {
	queue *redisQueue
}

// redisQueue is what the subscriptions of a group to a topic have in common in a process.
type redisQueue struct {
	streams       *redisStreams
	reader        *redisReader
	topic, group  string
	key           string
	subscriptions int    // guarded by redisStreams.mu
	since         string // of the reader's goroutine, once the queue is there
}

// tend makes what the group needs, if it is not there.
func (q *redisQueue) tend(ctx context.Context) error {
	r, first := q.streams, q.since == ""
	answer, err := redisTend.Run(ctx, r.client, []string{q.key, r.groupsKey(q.topic), r.key(q.topic)},
		q.group, q.since, r.shared.opts.MaxMessages).Slice()
	if err != nil {
		return err
	}
	if len(answer) != 2 {
		return errors.New("unexpected answer of a script")
	}
	q.since, _ = answer[0].(string)
	if lost, _ := answer[1].(int64); lost > 0 && !first {
		r.shared.opts.Logger.Warn("group was lost", "topic", q.topic, "group", q.group, "made_again", true)
	}
	return nil
}

func (r *redisStreams) subscribeGroup(ctx context.Context, topic, group string) (*source, error) {
	q, err := r.queue(ctx, topic, group)
	if err != nil {
		return nil, fmt.Errorf("group %q: %w", group, err)
	}
	src, trim := r.shared.lease(ctx, topic, group, &redisTaker{q}), r.trimmer(ctx, r.key(topic))
	src.close = func() error {
		<-trim
		return nil
	}
	return src, nil
}

// queue returns that of a group, and counts a subscription in. leave counts it out.
func (r *redisStreams) queue(ctx context.Context, topic, group string) (*redisQueue, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := r.queueKey(topic, group)
	q := r.queues[key]
	if q == nil {
		q = &redisQueue{streams: r, topic: topic, group: group, key: key}
		if err := q.tend(ctx); err != nil {
			return nil, err
		}
		reader := r.readers[group]
		if reader == nil {
			reader = newRedisReader(r, group)
			r.readers[group] = reader
		}
		q.reader, r.queues[key] = reader, q
		reader.add(q)
	}
	q.subscriptions++
	return q, nil
}

func (t *redisTaker) take(ctx context.Context) (lease, error) {
	entry, err := t.queue.next(ctx)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		if entry = t.queue.reader.wait(ctx, t.queue.key, ""); entry == nil {
			return nil, nil
		}
	}
	m, _ := redisCoder{}.Unmarshal(entry.values)
	return &redisLease{t.queue, entry.id, m}, nil
}

// redisEntry is one of a stream.
type redisEntry struct {
	id     string
	values map[string]any
}

// next takes an entry if there is one. What Redis has given away it has to hear of: the end of ctx does not cut that short.
func (q *redisQueue) next(ctx context.Context) (*redisEntry, error) {
	if ctx.Err() != nil {
		return nil, nil
	}
	r := q.streams
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseCall)
	defer cancel()
	answer, err := redisTake.Run(ctx, r.client, []string{q.key}, q.group, r.consumer, r.shared.opts.AckWait.Milliseconds()).Slice()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, nil
	case redis.HasErrorPrefix(err, "NOGROUP"):
		q.reader.mend()
		return nil, nil
	case err != nil:
		return nil, err
	}
	return readEntry(answer)
}

// readEntry reads what a script returns for an entry.
func readEntry(answer []any) (*redisEntry, error) {
	if len(answer) != 2 {
		return nil, errors.New("unexpected answer of a script")
	}
	id, _ := answer[0].(string)
	fields, _ := answer[1].([]any)
	values := make(map[string]any, len(fields)/2)
	for i := 0; i+1 < len(fields); i += 2 {
		name, _ := fields[i].(string)
		values[name] = fields[i+1]
	}
	return &redisEntry{id, values}, nil
}

func (t *redisTaker) leave(ctx context.Context) error {
	q, r := t.queue, t.queue.streams
	r.mu.Lock()
	if q.subscriptions--; q.subscriptions > 0 {
		r.mu.Unlock()
		return nil
	}
	delete(r.queues, q.key)
	if q.reader.remove(q) == 0 {
		delete(r.readers, q.group)
		defer q.reader.close()
	}
	r.mu.Unlock()
	err := redisDismiss.Run(ctx, r.client, []string{q.key}, q.group, r.consumer, redisAbsent.Milliseconds()).Err()
	if errors.Is(err, redis.Nil) || redis.HasErrorPrefix(err, "NOGROUP") || redis.HasErrorPrefix(err, "ERR no such key") {
		return nil
	}
	return err
}

// redisAbsent is after what time a process that has nothing out, and was not heard of, is no consumer any more.
const redisAbsent = time.Hour

// redisLease is an entry that this process has taken.
type redisLease struct {
	queue *redisQueue
	id    string
	m     *message.Message
}

func (l *redisLease) message() *message.Message { return l.m }

func (l *redisLease) extend(ctx context.Context) error { return l.idle(ctx, 0) }

func (l *redisLease) nack(ctx context.Context, pause time.Duration) error {
	err := l.idle(ctx, max(l.queue.streams.shared.opts.AckWait-pause, 0))
	l.queue.reader.look(pause)
	return err
}

// idle has Redis count from when the entry was taken so long ago.
func (l *redisLease) idle(ctx context.Context, since time.Duration) error {
	r := l.queue.streams
	return redisWas(redisIdle.Run(ctx, r.client, []string{l.queue.key}, l.queue.group, r.consumer, l.id, since.Milliseconds()))
}

func (l *redisLease) ack(ctx context.Context) error {
	return redisWas(redisAck.Run(ctx, l.queue.streams.client, []string{l.queue.key}, l.queue.group, l.id))
}

// redisWas reports by errNotOut that a script has found the entry not to be out.
func redisWas(cmd *redis.Cmd) error {
	was, err := cmd.Int()
	if redis.HasErrorPrefix(err, "NOGROUP") || err == nil && was == 0 {
		return errNotOut
	}
	return err
}
