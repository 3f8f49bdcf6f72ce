package brokers

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	wmsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
)

// pgSchema takes the place of the adapter's own schema, which has two tables a
// topic with names cut at 63 bytes, delivers nothing while any transaction in the
// database is writing, and keeps every row.
//
// Here an insert locks its topic until it commits, so that offsets become
// visible in order, and a reader needs no more than the last one it had. A
// subscription keeps that in memory. A group has a row for each message that it has not
// handled, locked while it is.
type pgSchema struct {
	namespace                 string
	messages, groups, waiting string // quoted
}

func newPgSchema(namespace string) pgSchema {
	table := func(name string) string { return `"` + namespace + "_" + name + `"` }
	return pgSchema{namespace, table("messages"), table("groups"), table("waiting")}
}

// create makes the tables, one process at a time: CREATE IF NOT EXISTS alone
// fails where two do it at once, and of an index it waits for all who write, even where there is one.
func (s pgSchema) create(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if there, err := pgThere(ctx, tx, s.namespace, 0, s.namespace+"_waiting_topic"); there || err != nil {
		return err
	}
	for _, statement := range []string{
		`CREATE TABLE IF NOT EXISTS ` + s.messages + ` (
			"offset" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			topic text NOT NULL,
			uuid text NOT NULL,
			payload bytea,
			metadata bytea NOT NULL,
			published timestamptz NOT NULL DEFAULT clock_timestamp())`,
		`CREATE INDEX IF NOT EXISTS "` + s.namespace + `_messages_topic" ON ` + s.messages + ` (topic, "offset")`,
		`CREATE INDEX IF NOT EXISTS "` + s.namespace + `_messages_published" ON ` + s.messages + ` (published)`,
		`CREATE TABLE IF NOT EXISTS ` + s.groups + ` (topic text, name text, PRIMARY KEY (topic, name))`,
		`CREATE TABLE IF NOT EXISTS ` + s.waiting + ` (
			"offset" bigint, topic text NOT NULL, name text, PRIMARY KEY ("offset", name))`,
		`CREATE INDEX IF NOT EXISTS "` + s.namespace + `_waiting_topic" ON ` + s.waiting + ` (topic, name, "offset")`,
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("create tables: %w", err)
		}
	}
	return tx.Commit()
}

// pgThere takes the lock under which a kind of table of a namespace is made, and reports whether what is made last is there.
func pgThere(ctx context.Context, tx *sql.Tx, namespace string, kind int, last string) (there bool, err error) {
	if _, err = tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtext($1), $2)`, namespace, kind); err != nil {
		return false, fmt.Errorf("create tables: %w", err)
	}
	err = tx.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, `"`+last+`"`).Scan(&there)
	return there, err
}

// InsertQuery locks the topic before the rows get their offsets.
func (s pgSchema) InsertQuery(topic string, messages message.Messages) (wmsql.Query, error) {
	uuids, payloads, metadata := make([]string, len(messages)), make([][]byte, len(messages)), make([][]byte, len(messages))
	for i, m := range messages {
		uuids[i], payloads[i] = m.UUID, m.Payload
		var err error
		if metadata[i], err = json.Marshal(m.Metadata); err != nil {
			return wmsql.Query{}, err
		}
	}
	return wmsql.Query{Query: `
		WITH new AS (
			INSERT INTO ` + s.messages + ` (topic, uuid, payload, metadata)
			SELECT $1::text, m.uuid, m.payload, m.metadata
			FROM (SELECT pg_advisory_xact_lock(hashtext($2::text), hashtext($1::text))) AS locked,
				unnest($3::text[], $4::bytea[], $5::bytea[]) WITH ORDINALITY AS m(uuid, payload, metadata, n)
			ORDER BY m.n
			RETURNING "offset")
		INSERT INTO ` + s.waiting + ` ("offset", topic, name)
		SELECT new."offset", g.topic, g.name FROM new, ` + s.groups + ` AS g WHERE g.topic = $1::text`,
		Args: []any{topic, s.namespace + ".", uuids, payloads, metadata}}, nil
}

// trim removes messages that are older than retention and that no group has
// to handle.
func (s pgSchema) trim(ctx context.Context, db *sql.DB, retention time.Duration) error {
	_, err := db.ExecContext(ctx, `
		DELETE FROM `+s.messages+` AS m WHERE published < clock_timestamp() - $1::bigint * interval '1 microsecond'
		AND NOT EXISTS (SELECT FROM `+s.waiting+` AS w WHERE w."offset" = m."offset")`, retention.Microseconds())
	return err
}

// What the adapter asks of a publisher's schema besides.

func (pgSchema) SchemaInitializingQueries(string) []wmsql.Query { return nil }
func (pgSchema) SubscribeIsolationLevel() sql.IsolationLevel    { return sql.LevelReadCommitted }

func (pgSchema) SelectQuery(string, string, wmsql.OffsetsAdapter) wmsql.Query { return wmsql.Query{} }

// UnmarshalMessage fails for no message: the adapter would read it again, for ever.
func (pgSchema) UnmarshalMessage(row wmsql.Scanner) (wmsql.Row, error) {
	var r wmsql.Row
	var uuid string
	var metadata []byte
	if err := row.Scan(&r.Offset, &uuid, &r.Payload, &metadata); err != nil {
		return r, err
	}
	r.Msg = readable(func() (*message.Message, error) {
		return decodePg(uuid, r.Payload, metadata)
	})
	return r, nil
}

// decodePg undoes encodePg.
func decodePg(uuid string, payload, metadata []byte) (*message.Message, error) {
	var escaped message.Metadata
	if err := json.Unmarshal(metadata, &escaped); err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	m := message.NewMessage(unescapeHeader(uuid), payload)
	for k, v := range escaped {
		m.Metadata[unescapeHeader(k)] = unescapeHeader(v)
	}
	return m, nil
}

// pgSubscription is how one subscription reads, and notes what it has read.
type pgSubscription struct {
	pgSchema
	group string
	last  int64 // of the adapter's goroutine alone: the offset of the last message acked
}

const pgBatch = 100

// start begins behind what is there now.
func (s *pgSubscription) start(ctx context.Context, db *sql.DB, topic string) error {
	return db.QueryRowContext(ctx, `SELECT coalesce(max("offset"), 0) FROM `+s.messages+` WHERE topic = $1`, topic).Scan(&s.last)
}

func (s *pgSubscription) SelectQuery(topic, group string, _ wmsql.OffsetsAdapter) wmsql.Query {
	if s.group == "" {
		return wmsql.Query{Query: `SELECT "offset", uuid, payload, metadata FROM ` + s.messages + `
			WHERE topic = $1 AND "offset" > $2 ORDER BY "offset" LIMIT $3`, Args: []any{topic, s.last, pgBatch}}
	}
	return wmsql.Query{Query: `SELECT m."offset", m.uuid, m.payload, m.metadata
		FROM ` + s.waiting + ` AS w JOIN ` + s.messages + ` AS m USING ("offset")
		WHERE w.topic = $1 AND w.name = $2 ORDER BY w."offset" LIMIT 1 FOR UPDATE OF w SKIP LOCKED`, Args: []any{topic, group}}
}

func (s *pgSubscription) AckMessageQuery(_ string, row wmsql.Row, group string) wmsql.Query {
	if s.group == "" {
		s.last = row.Offset
		return wmsql.Query{Query: `SELECT 1`} // the adapter runs it
	}
	return wmsql.Query{Query: `DELETE FROM ` + s.waiting + ` WHERE "offset" = $1 AND name = $2`, Args: []any{row.Offset, group}}
}

func (s *pgSubscription) BeforeSubscribingQueries(topic, group string) []wmsql.Query {
	if s.group == "" {
		return nil
	}
	return []wmsql.Query{{Query: `INSERT INTO ` + s.groups + ` (topic, name) VALUES ($1, $2) ON CONFLICT DO NOTHING`,
		Args: []any{topic, group}}}
}

func (*pgSubscription) ConsumedMessageQuery(string, wmsql.Row, string, []byte) wmsql.Query {
	return wmsql.Query{}
}

func (*pgSubscription) NextOffsetQuery(string, string) wmsql.Query { return wmsql.Query{} }
