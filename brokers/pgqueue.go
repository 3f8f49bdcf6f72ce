package brokers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
)

type pgQueueKey struct{ topic, group string }

// pgQueue is what the subscriptions of a group to a topic have in common in a process.
type pgQueue struct {
	postgres *postgres
	key      pgQueueKey
	wake     chan struct{} // capacity 1: something may be there for one of them
	hang     func()

	subscriptions int // guarded by postgres.mu

	mu      sync.Mutex
	polled  time.Time // guarded by mu: when it was last looked for something though nothing had rung
	tended  bool      // guarded by mu: the group was there
	covered int64     // guarded by mu: the messages of the topic up to this offset, at least, were put into the queue
}

func (p *postgres) subscribeGroup(ctx context.Context, topic, group string) (*source, error) {
	key := pgQueueKey{topic, group}
	p.mu.Lock()
	q := p.queues[key]
	if q == nil {
		q = &pgQueue{postgres: p, key: key, wake: make(chan struct{}, 1)}
		q.hang = p.bell.hear(topic, q.wake)
		p.queues[key] = q
	}
	q.subscriptions++
	p.mu.Unlock()
	if err := q.tend(ctx); err != nil {
		q.leave()
		return nil, fmt.Errorf("group %q: %w", group, err)
	}
	return p.shared.lease(ctx, topic, group, &pgTaker{q}), nil
}

// leave counts a subscription out.
func (q *pgQueue) leave() {
	p := q.postgres
	p.mu.Lock()
	defer p.mu.Unlock()
	if q.subscriptions--; q.subscriptions == 0 {
		delete(p.queues, q.key)
		q.hang()
	}
}

// tend makes the group, if it is not there. One that was there before gets what was published to the topic meanwhile.
func (q *pgQueue) tend(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	p, s := q.postgres, q.postgres.schema
	var there bool
	var last int64
	err := p.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM `+s.groups+` WHERE topic = $1 AND name = $2),
		(SELECT coalesce(max("offset"), 0) FROM `+s.messages+` WHERE topic = $1)`, q.key.topic, q.key.group).Scan(&there, &last)
	if err != nil {
		return p.mended(ctx, err)
	}
	if there {
		q.tended, q.covered = true, last
		return nil
	}
	// Nobody publishes to the topic meanwhile.
	_, err = p.db.ExecContext(ctx, `
		WITH made AS (
			INSERT INTO `+s.groups+` (topic, name)
			SELECT $1::text, $2::text FROM (SELECT pg_advisory_xact_lock(hashtext($3::text), hashtext($1::text))) AS locked
			ON CONFLICT DO NOTHING RETURNING topic)
		INSERT INTO `+s.waiting+` ("offset", topic, name)
		SELECT m."offset", $1::text, $2::text FROM made, `+s.messages+` AS m WHERE $4::boolean AND m.topic = $1::text AND m."offset" > $5::bigint
		ON CONFLICT DO NOTHING`, q.key.topic, q.key.group, s.namespace+".", q.tended, q.covered)
	if err != nil {
		return p.mended(ctx, err)
	}
	if q.tended {
		p.shared.opts.Logger.Warn("group was lost", "topic", q.key.topic, "group", q.key.group, "made_again", true)
	}
	q.tended = true
	return nil
}

// due reports whether it is time to look though nothing has rung; then it is not for the others.
func (q *pgQueue) due() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if time.Since(q.polled) < pgPoll {
		return false
	}
	q.polled = time.Now()
	return true
}

// pgTaker is a subscription of a group.
type pgTaker struct {
	queue *pgQueue
}

func (t *pgTaker) take(ctx context.Context) (lease, error) {
	q := t.queue
	if q.due() {
		call, cancel := context.WithTimeout(ctx, leaseCall)
		err := q.tend(call)
		cancel()
		if err != nil {
			return nil, err
		}
	}
	got, err := t.next(ctx)
	if err != nil || got != nil {
		return got, err
	}
	timer := time.NewTimer(pgPoll)
	defer timer.Stop()
	for {
		select {
		case <-q.wake:
			return nil, nil
		case <-timer.C:
			q.mu.Lock()
			due := time.Since(q.polled) >= pgPoll
			q.mu.Unlock()
			if due {
				return nil, nil
			}
			timer.Reset(pgPoll)
		case <-ctx.Done():
			return nil, nil
		}
	}
}

// next takes a message, if there is one. What the server has given away this process has to hear of: the end of ctx does not cut that short.
func (t *pgTaker) next(ctx context.Context) (lease, error) {
	if ctx.Err() != nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseCall)
	defer cancel()
	q, p := t.queue, t.queue.postgres
	l := &pgLease{queue: q, owner: uuid.NewString()}
	var id string
	var payload, metadata []byte
	err := p.db.QueryRowContext(ctx, `
		WITH next AS (
			SELECT w."offset", w.name, m.uuid, m.payload, m.metadata
			FROM `+p.schema.waiting+` AS w JOIN `+p.schema.messages+` AS m USING ("offset")
			WHERE w.topic = $1 AND w.name = $2 AND w.until < clock_timestamp() ORDER BY w."offset" LIMIT 1 FOR UPDATE OF w SKIP LOCKED)
		UPDATE `+p.schema.waiting+` AS w SET until = clock_timestamp() + $3::bigint * interval '1 microsecond', owner = $4::text
		FROM next, (SELECT `+pgHasty+`) AS hasty WHERE w."offset" = next."offset" AND w.name = next.name
		RETURNING next."offset", next.uuid, next.payload, next.metadata`,
		q.key.topic, q.key.group, p.shared.opts.AckWait.Microseconds(), l.owner).Scan(&l.offset, &id, &payload, &metadata)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, p.mended(ctx, err)
	}
	signal(q.wake) // there may be more
	l.m = decodePg(id, payload, metadata)
	return l, nil
}

func (t *pgTaker) leave(context.Context) error {
	signal(t.queue.wake) // it may have been this one that was woken
	t.queue.leave()
	return nil
}

// pgLease is a message that is out to this process.
type pgLease struct {
	queue  *pgQueue
	offset int64
	owner  string
	m      *message.Message
}

func (l *pgLease) message() *message.Message { return l.m }

func (l *pgLease) extend(ctx context.Context) error {
	return l.until(ctx, l.queue.postgres.shared.opts.AckWait)
}

func (l *pgLease) nack(ctx context.Context, pause time.Duration) error {
	err := l.until(ctx, pause)
	if pause == 0 {
		l.queue.postgres.bell.ring(l.queue.key.topic)
	} else {
		time.AfterFunc(pause+time.Millisecond, func() { signal(l.queue.wake) })
	}
	return err
}

// until leaves the message out for so long.
func (l *pgLease) until(ctx context.Context, d time.Duration) error {
	p := l.queue.postgres
	return pgWas(p.db.ExecContext(ctx, `UPDATE `+p.schema.waiting+` SET until = clock_timestamp() + $4::bigint * interval '1 microsecond'
		FROM (SELECT `+pgHasty+`) AS hasty WHERE "offset" = $1 AND name = $2 AND owner = $3`, l.offset, l.queue.key.group, l.owner, d.Microseconds()))
}

func (l *pgLease) ack(ctx context.Context) error {
	p := l.queue.postgres
	return pgWas(p.db.ExecContext(ctx, `DELETE FROM `+p.schema.waiting+` WHERE "offset" = $1 AND name = $2 AND owner = $3`,
		l.offset, l.queue.key.group, l.owner))
}

// pgWas reports by errNotOut that a statement has found no row.
func pgWas(result sql.Result, err error) error {
	switch {
	case pgLost(err):
		return errNotOut
	case err != nil:
		return err
	}
	if n, err := result.RowsAffected(); err == nil && n == 0 {
		return errNotOut
	}
	return nil
}
