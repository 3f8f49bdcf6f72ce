package guides_test

import (
	"context"
	"database/sql"
	"errors"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/commands"
)

// snippet: durable-replies

// newWorker returns a registry that keeps its replies in db.
func newWorker(ctx context.Context, db *sql.DB) (*commands.Registry, error) {
	replies, err := brokers.PostgresReplies(ctx, db)
	if err != nil {
		return nil, err
	}
	return commands.NewRegistry(commands.Config{
		ID:         "worker",
		Middleware: []message.HandlerMiddleware{replies.Middleware}, // first
	})
}

// bookIn is the handler: what it does in the transaction is done once, however often the request is delivered.
func bookIn(ctx context.Context, p Payment) (string, error) {
	tx, ok := brokers.Tx(ctx)
	if !ok {
		return "", errors.New("the request has no key")
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO payments (id, cents) VALUES ($1, $2)", p.ID, p.Cents)
	return "booked " + p.ID, err
}

// end snippet

var (
	_ = newWorker // what they do is tested in package brokers, against a server
	_ = bookIn
)
