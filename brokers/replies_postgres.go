package brokers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

type pgReplies struct {
	db    *sql.DB
	opts  RepliesOptions
	table string // quoted
	vault vault
	uses  atomic.Uint64
}

// PostgresReplies keeps replies in a table of Postgres, <namespace>_replies, which it makes if it is not there: ctx bounds that.
// db may use any driver; it stays the caller's.
//
// The handler of a request that has a key runs inside a transaction, in which its reply is kept: with [Tx] it gets that, and
// what it does there happens exactly once, and is answered with one and the same reply, however often the request is delivered
// and wherever processes die. Both are committed before the reply leaves. When the handler returns an error, or
// panics, what it has done in the transaction is undone, and the error is the reply. What a handler does elsewhere happens at least once: hand
// commands.OnceKey on.
//
// While one process executes a request, others that get it wait for the end of that transaction; one that has died has
// none. (Postgres notices the end of a machine by its tcp_keepalives settings.) Each request that is executed or waits holds a connection of
// db, so SetMaxOpenConns has to leave room for all handlers, and for what they do outside of the transaction.
func PostgresReplies(ctx context.Context, db *sql.DB, opts ...RepliesOptions) (*Replies, error) {
	o, keys, err := oneOption(opts)
	if err != nil {
		return nil, fmt.Errorf("postgres replies: %w", err)
	}
	if db == nil {
		return nil, errors.New("postgres replies: no database")
	}
	p := &pgReplies{db: db, opts: o, vault: vault{keys}, table: `"` + o.Namespace + `_replies"`}
	if err := p.create(ctx); err != nil {
		return nil, fmt.Errorf("postgres replies: %w", err)
	}
	return &Replies{store: p, log: o.Logger}, nil
}

// create makes the table, if it is not there.
func (p *pgReplies) create(ctx context.Context) error {
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	index := p.opts.Namespace + "_replies_expires"
	if there, err := pgThere(ctx, tx, p.opts.Namespace, 1, index); there || err != nil {
		return err
	}
	for _, statement := range []string{
		`CREATE TABLE IF NOT EXISTS ` + p.table + ` (
			key text PRIMARY KEY, command text NOT NULL, reply bytea, expires timestamptz NOT NULL)`,
		`CREATE INDEX IF NOT EXISTS "` + index + `" ON ` + p.table + ` (expires)`,
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("create table: %w", err)
		}
	}
	return tx.Commit()
}

type txKey struct{}

// Tx returns the transaction in which the reply to the request that is being handled will be kept: see [PostgresReplies].
// False where there is none: the request has no key, or the middleware is not there. The handler must not
// commit it or roll it back, nor use it after its return.
func Tx(ctx context.Context) (*sql.Tx, bool) {
	tx, ok := ctx.Value(txKey{}).(*sql.Tx)
	return tx, ok
}

// begin inserts the key: that waits for whoever has inserted it and not committed.
func (p *pgReplies) begin(ctx context.Context, key, command string) (*outcome, claim, error) {
	p.trim(ctx)
	for {
		conn, err := p.db.Conn(ctx) // of which all may be in use
		if err != nil {
			return nil, nil, err
		}
		// The end of ctx is the handler's to notice: what it completes nevertheless counts.
		tx, err := conn.BeginTx(context.WithoutCancel(ctx), &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		if err != nil {
			return nil, nil, errors.Join(err, conn.Close())
		}
		c := &pgClaim{p, conn, tx, key}
		kept, mine, err := p.claim(ctx, tx, key, command)
		if mine {
			return nil, c, nil
		}
		c.abandon()
		if err != nil || kept != nil {
			return kept, nil, err
		}
	} // it was trimmed in between
}

func (p *pgReplies) claim(ctx context.Context, tx *sql.Tx, key, command string) (kept *outcome, mine bool, err error) {
	res, err := tx.ExecContext(ctx, `INSERT INTO `+p.table+` (key, command, expires)
		VALUES ($1, $2, clock_timestamp() + $3::bigint * interval '1 microsecond') ON CONFLICT DO NOTHING`,
		key, command, p.opts.TTL.Microseconds())
	if err != nil {
		return nil, false, err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 1 {
		_, err = tx.ExecContext(ctx, `SAVEPOINT leat_handler`)
		return nil, err == nil, err
	}
	if err != nil {
		return nil, false, err
	}
	var reply []byte
	err = tx.QueryRowContext(ctx, `SELECT reply FROM `+p.table+` WHERE key = $1`, key).Scan(&reply)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	case reply == nil:
		o := failed(endedItself)
		return &o, false, nil
	}
	kept, err = p.vault.unlock(key, reply)
	return kept, false, err
}

var (
	endedItself = &bus.Fault{Code: string(commands.Internal), Message: "the handler has ended the transaction of its reply"}
	txFailed    = &bus.Fault{Code: string(commands.Internal), Message: "the handler has succeeded and its transaction has not: a statement had failed"}
)

// trims is how many requests there are to one look for replies that have expired, and trimmed how many of those go then.
const (
	trims   = 128
	trimmed = 512
)

func (p *pgReplies) trim(ctx context.Context) {
	if p.uses.Add(1)%trims != 0 {
		return
	}
	_, err := p.db.ExecContext(ctx, `DELETE FROM `+p.table+` WHERE key IN (
		SELECT key FROM `+p.table+` WHERE expires < clock_timestamp() LIMIT $1 FOR UPDATE SKIP LOCKED)`, trimmed)
	if err != nil {
		p.opts.Logger.Debug("trim replies", "error", err)
	}
}

// pgClaim is a transaction that has inserted the key.
type pgClaim struct {
	store *pgReplies
	conn  *sql.Conn // of the transaction
	tx    *sql.Tx
	key   string
}

func (c *pgClaim) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, txKey{}, c.tx)
}

func (c *pgClaim) abandon() {
	_ = c.tx.Rollback() // does nothing after Commit
	_ = c.conn.Close()  // it goes back to the pool
}

// keepTimeout bounds how long keeping a reply takes.
const keepTimeout = 30 * time.Second

func (c *pgClaim) keep(o outcome) (outcome, error) {
	defer c.abandon()
	ctx, cancel := context.WithTimeout(context.Background(), keepTimeout)
	defer cancel()
	statement := `RELEASE SAVEPOINT leat_handler`
	if o.Code != "" {
		statement = `ROLLBACK TO SAVEPOINT leat_handler`
	}
	_, err := c.tx.ExecContext(ctx, statement)
	if errors.Is(err, sql.ErrTxDone) {
		return failed(endedItself), nil
	}
	if err != nil && o.Code == "" { // a statement has failed, and the handler has not minded
		request := o.Request
		o = failed(txFailed)
		o.Request = request
		_, err = c.tx.ExecContext(ctx, `ROLLBACK TO SAVEPOINT leat_handler`)
	}
	if err != nil {
		return o, err
	}
	// From now on it is kept: the handler may have taken longer than TTL.
	_, err = c.tx.ExecContext(ctx, `UPDATE `+c.store.table+` SET reply = $2, expires = clock_timestamp() + $3::bigint * interval '1 microsecond'
		WHERE key = $1`, c.key, c.store.vault.lock(c.key, o), c.store.opts.TTL.Microseconds())
	if err != nil {
		return o, err
	}
	return o, c.tx.Commit()
}
