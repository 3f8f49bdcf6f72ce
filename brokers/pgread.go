package brokers

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// pgReader reads for all fan-out subscriptions of the process at once, when the bell rings or a second has passed. It has one goroutine.
type pgReader struct {
	postgres *postgres
	wake     chan struct{} // capacity 1

	mu      sync.Mutex
	waiting map[*pgFollow]struct{} // guarded by mu: those that have handed over all that they were given
	epoch   int                    // guarded by mu: counts the times that offsets may have gone back
	seen    int64                  // of the goroutine alone: the largest offset that was given away so far
}

// pgFollow is a fan-out subscription: it has each row of the topic behind the last one that it had.
type pgFollow struct {
	topic string
	after int64        // the offset of the last row
	since time.Time    // when it was published, by the server's clock
	epoch int          // in which that holds
	got   chan []pgRow // capacity 1: the rows that were read for it, while it does not wait
	out   chan *message.Message
}

type pgRow struct {
	offset    int64
	uuid      string
	payload   []byte
	metadata  []byte
	published time.Time
}

const pgBatch = 100

func newPgReader(p *postgres) *pgReader {
	return &pgReader{postgres: p, wake: make(chan struct{}, 1), waiting: make(map[*pgFollow]struct{})}
}

// follow begins a subscription behind what is there now.
func (r *pgReader) follow(ctx context.Context, topic string) (*pgFollow, error) {
	p := r.postgres
	f := &pgFollow{topic: topic, got: make(chan []pgRow, 1), out: make(chan *message.Message)}
	r.mu.Lock()
	f.epoch = r.epoch
	r.mu.Unlock()
	err := p.db.QueryRowContext(ctx, `SELECT coalesce(max("offset"), 0), clock_timestamp() FROM `+p.schema.messages+` WHERE topic = $1`, topic).
		Scan(&f.after, &f.since)
	if err != nil {
		return nil, err
	}
	hang := p.bell.hear(topic, r.wake)
	go func() {
		defer close(f.out)
		defer hang()
		r.hand(ctx, f)
	}()
	return f, nil
}

// hand gives the subscriber the rows that were read.
func (r *pgReader) hand(ctx context.Context, f *pgFollow) {
	for {
		r.mu.Lock()
		r.waiting[f] = struct{}{}
		r.mu.Unlock()
		signal(r.wake)
		select {
		case rows := <-f.got:
			for _, row := range rows {
				f.give(ctx, row)
			}
		case <-ctx.Done():
			r.mu.Lock()
			delete(r.waiting, f)
			r.mu.Unlock()
			return
		}
	}
}

func (f *pgFollow) give(ctx context.Context, row pgRow) {
	pass(ctx, f.out, func() *message.Message { return decodePg(row.uuid, row.payload, row.metadata) })
}

// reconnected is called when the server was away: it may have come back with less than it had.
func (r *pgReader) reconnected() {
	r.mu.Lock()
	r.epoch++
	r.mu.Unlock()
}

func (r *pgReader) run(ctx context.Context) {
	for failures := 0; ; {
		wait := pgPoll
		if err := r.read(ctx); err != nil && ctx.Err() == nil {
			r.postgres.shared.opts.Logger.Debug("read", "error", err)
			wait = min(takePause<<min(failures, 10), maxTakePause)
			failures++
		} else {
			failures = 0
		}
		wake := r.wake
		if failures > 0 { // not as often as it rings
			wake = nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-wake:
			timer.Stop()
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// read reads once for all that wait.
func (r *pgReader) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaseCall)
	defer cancel()
	r.mu.Lock()
	epoch := r.epoch
	follows := make(map[string][]*pgFollow, len(r.waiting))
	for f := range r.waiting {
		follows[f.topic] = append(follows[f.topic], f)
	}
	r.mu.Unlock()
	if len(follows) == 0 {
		return nil
	}
	var topics []string
	var after []int64
	for topic, all := range follows {
		least := all[0].after
		for _, f := range all {
			if f.epoch != epoch {
				if err := r.rewind(ctx, f); err != nil {
					return r.postgres.mended(ctx, err)
				}
				f.epoch = epoch
			}
			least = min(least, f.after)
		}
		topics, after = append(topics, topic), append(after, least)
	}
	if err := r.rows(ctx, topics, after, follows); err != nil {
		return r.postgres.mended(ctx, err)
	}
	return nil
}

// last is the offset that was given away last.
func (s pgSchema) last() string {
	return `(SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM "` + s.namespace + `_messages_offset_seq")`
}

// rows reads, and hands on.
func (r *pgReader) rows(ctx context.Context, topics []string, after []int64, follows map[string][]*pgFollow) error {
	s := r.postgres.schema
	rows, err := r.postgres.db.QueryContext(ctx, `
		SELECT last.n, m.topic, m."offset", m.uuid, m.payload, m.metadata, m.published
		FROM (SELECT `+s.last()+` AS n) AS last LEFT JOIN (
			unnest($1::text[], $2::bigint[]) AS f(topic, after) CROSS JOIN LATERAL (
				SELECT * FROM `+s.messages+` AS m WHERE m.topic = f.topic AND m."offset" > f.after ORDER BY m."offset" LIMIT $3) AS m
		) ON true ORDER BY m."offset"`, topics, after, pgBatch)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	got := make(map[*pgFollow][]pgRow)
	for n := 0; rows.Next(); n++ {
		var last int64
		var topic, uuid sql.NullString
		var offset sql.NullInt64
		var published sql.NullTime
		var row pgRow
		if err := rows.Scan(&last, &topic, &offset, &uuid, &row.payload, &row.metadata, &published); err != nil {
			return err
		}
		if n == 0 && r.backwards(last) {
			signal(r.wake)
			return nil
		}
		if !offset.Valid {
			continue
		}
		row.offset, row.uuid, row.published = offset.Int64, uuid.String, published.Time
		for _, f := range follows[topic.String] {
			if row.offset > f.after {
				got[f] = append(got[f], row)
			}
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for f, rows := range got {
		if _, waits := r.waiting[f]; waits { // it has none, and gets no others before it waits again
			last := rows[len(rows)-1]
			f.after, f.since = last.offset, last.published
			delete(r.waiting, f)
			f.got <- rows
		}
	}
	return nil
}

// backwards reports whether offsets have gone back: those that are given away from now on were given away before.
func (r *pgReader) backwards(last int64) bool {
	back := last < r.seen
	if r.seen = last; !back {
		return false
	}
	r.reconnected()
	return true
}

// rewind has a subscription begin again where offsets went back: behind the last row that it had, by time.
func (r *pgReader) rewind(ctx context.Context, f *pgFollow) error {
	p := r.postgres
	var last int64
	var first sql.NullInt64
	err := p.db.QueryRowContext(ctx, `SELECT `+p.schema.last()+`, (
		SELECT min("offset") FROM `+p.schema.messages+` WHERE topic = $1 AND "offset" <= $2 AND published > $3)`, f.topic, f.after, f.since).
		Scan(&last, &first)
	if err != nil {
		return err
	}
	behind := min(f.after, last)
	if first.Valid {
		behind = first.Int64 - 1
	}
	if behind < f.after {
		p.shared.opts.Logger.Warn("offsets went back: a restore, or a failover", "topic", f.topic, "had", f.after, "goes_on_behind", behind)
		f.after = behind
	}
	return nil
}
