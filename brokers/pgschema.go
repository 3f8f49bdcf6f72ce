package brokers

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// pgSchema takes the place of the adapter's own schema, which has two tables a
// topic with names cut at 63 bytes, delivers nothing while any transaction in the
// database is writing, and keeps every row.
//
// Here an insert locks its topic until it commits, so that offsets become
// visible in order, and a reader needs no more than the last one it had. A
// subscription keeps that in memory. A group has a row for each message that it has not
// handled, which says until when it is out, and to whom.
type pgSchema struct {
	namespace                 string
	messages, groups, waiting string // quoted
}

func newPgSchema(namespace string) pgSchema {
	table := func(name string) string { return `"` + namespace + "_" + name + `"` }
	return pgSchema{namespace, table("messages"), table("groups"), table("waiting")}
}

// create makes what is not there, one process at a time: CREATE IF NOT EXISTS alone
// fails where two do it at once, and of an index it waits for all who write, even where there is one.
func (s pgSchema) create(ctx context.Context, db *sql.DB) (made bool, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if _, err := pgThere(ctx, tx, s.namespace, 0, s.namespace+"_waiting_topic"); err != nil {
		return false, err
	}
	var missing int
	if err := tx.QueryRowContext(ctx, `
		SELECT count(*) FROM unnest($1::text[]) AS name WHERE to_regclass('"' || name || '"') IS NULL`,
		s.objects()).Scan(&missing); err != nil || missing == 0 {
		return false, err
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
			"offset" bigint, topic text NOT NULL, name text,
			until timestamptz NOT NULL DEFAULT '-infinity', owner text NOT NULL DEFAULT '', PRIMARY KEY ("offset", name))`,
		`CREATE INDEX IF NOT EXISTS "` + s.namespace + `_waiting_topic" ON ` + s.waiting + ` (topic, name, "offset")`,
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return false, fmt.Errorf("create tables: %w", err)
		}
	}
	return true, tx.Commit()
}

// objects are the tables and indexes that create makes.
func (s pgSchema) objects() (names []string) {
	for _, name := range []string{"messages", "messages_topic", "messages_published", "groups", "waiting", "waiting_topic"} {
		names = append(names, s.namespace+"_"+name)
	}
	return names
}

// pgThere takes the lock under which a kind of table of a namespace is made, and reports whether what is made last is there.
func pgThere(ctx context.Context, tx *sql.Tx, namespace string, kind int, last string) (there bool, err error) {
	if _, err = tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtext($1), $2)`, namespace, kind); err != nil {
		return false, fmt.Errorf("create tables: %w", err)
	}
	err = tx.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, `"`+last+`"`).Scan(&there)
	return there, err
}

// toGroups inserts messages of a topic, for those who follow it and for all groups that it has.
func (s pgSchema) toGroups(topic string, messages []*message.Message) (query string, args []any, err error) {
	return s.insert(topic, messages, `SELECT new."offset", g.topic, g.name FROM new, `+s.groups+` AS g WHERE g.topic = $1::text`)
}

// toGroup inserts messages of a topic for one group, be it there or not.
func (s pgSchema) toGroup(topic, group string, messages []*message.Message) (query string, args []any, err error) {
	return s.insert(topic, messages, `SELECT new."offset", $1::text, $6::text FROM new`, group)
}

// insert locks the topic before the rows get their offsets. Whoever waits for a row by an offset that was given away before, and is
// given away again since the table has lost it, waits for the new one.
func (s pgSchema) insert(topic string, messages []*message.Message, waiting string, more ...any) (query string, args []any, err error) {
	uuids, payloads, metadata := make([]string, len(messages)), make([][]byte, len(messages)), make([][]byte, len(messages))
	for i, m := range messages {
		uuids[i], payloads[i] = m.UUID, m.Payload
		if metadata[i], err = json.Marshal(m.Metadata); err != nil {
			return "", nil, err
		}
	}
	return `
		WITH new AS (
			INSERT INTO ` + s.messages + ` (topic, uuid, payload, metadata)
			SELECT $1::text, m.uuid, m.payload, m.metadata
			FROM (SELECT pg_advisory_xact_lock(hashtext($2::text), hashtext($1::text))) AS locked,
				unnest($3::text[], $4::bytea[], $5::bytea[]) WITH ORDINALITY AS m(uuid, payload, metadata, n)
			ORDER BY m.n
			RETURNING "offset")
		INSERT INTO ` + s.waiting + ` ("offset", topic, name) ` + waiting + `
		ON CONFLICT ("offset", name) DO UPDATE SET topic = excluded.topic, until = excluded.until, owner = excluded.owner`,
		append([]any{topic, s.namespace + ".", uuids, payloads, metadata}, more...), nil
}

// retention raises what the processes of the namespace have promised to keep, and returns it: a comment of the table says so.
func (s pgSchema) retention(ctx context.Context, db *sql.DB, want time.Duration) (time.Duration, error) {
	var text string
	err := db.QueryRowContext(ctx, `SELECT coalesce(obj_description(to_regclass($1)), '')`, s.messages).Scan(&text)
	if err != nil {
		return want, err
	}
	if has, err := time.ParseDuration(strings.TrimPrefix(text, pgRetention)); err == nil && has >= want {
		return has, nil
	}
	_, err = db.ExecContext(ctx, `COMMENT ON TABLE `+s.messages+` IS '`+pgRetention+want.String()+`'`)
	return want, err
}

// pgRetention begins the comment of the table of messages.
const pgRetention = "leat keeps for "

// trim removes messages that are older than retention and that no group has
// to handle, and returns how many. What is waited for and is not there is not waited for any more.
func (s pgSchema) trim(ctx context.Context, db *sql.DB, retention time.Duration) (trimmed int64, err error) {
	result, err := db.ExecContext(ctx, `
		DELETE FROM `+s.messages+` AS m WHERE published < clock_timestamp() - $1::bigint * interval '1 microsecond'
		AND NOT EXISTS (SELECT FROM `+s.waiting+` AS w WHERE w."offset" = m."offset")`, retention.Microseconds())
	if err != nil {
		return 0, err
	}
	if trimmed, err = result.RowsAffected(); err != nil {
		return 0, err
	}
	_, err = db.ExecContext(ctx, `DELETE FROM `+s.waiting+` AS w WHERE NOT EXISTS (SELECT FROM `+s.messages+` AS m WHERE m."offset" = w."offset")`)
	return trimmed, err
}

// decodePg undoes encodePg.
func decodePg(uuid string, payload, metadata []byte) *message.Message {
	return readable(func() (*message.Message, error) {
		var escaped message.Metadata
		if err := json.Unmarshal(metadata, &escaped); err != nil {
			return nil, fmt.Errorf("metadata: %w", err)
		}
		m := message.NewMessage(unescapeHeader(uuid), payload)
		for k, v := range escaped {
			m.Metadata[unescapeHeader(k)] = unescapeHeader(v)
		}
		return m, nil
	})
}
