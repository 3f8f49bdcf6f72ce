package brokers_test

import (
	"context"
	"database/sql"
	"log"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

type (
	Payment struct {
		ID    string
		Cents int
	}
	Receipt struct{ Number int }
)

var pay = commands.Define[Payment, Receipt]("pay", "Books a payment", commands.Options{Durable: true})

// book runs as often as it takes, and has an effect once.
func book(ctx context.Context, p Payment) (r Receipt, err error) {
	tx, ok := brokers.Tx(ctx)
	if !ok {
		return r, commands.Errorf(commands.InvalidRequest, "a payment needs a key")
	}
	err = tx.QueryRowContext(ctx, `INSERT INTO payments (id, cents) VALUES ($1, $2) RETURNING number`, p.ID, p.Cents).Scan(&r.Number)
	return r, err
}

// A process that serves a durable command: its effect and its reply are one transaction of Postgres. Needs a server.
func ExamplePostgresReplies() {
	ctx := context.Background()
	db, err := sql.Open("pgx", "postgres://localhost/shop")
	if err != nil {
		log.Fatal(err)
	}
	replies, err := brokers.PostgresReplies(ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	registry, err := commands.NewRegistry(commands.Config{Middleware: []message.HandlerMiddleware{replies.Middleware}})
	if err != nil {
		log.Fatal(err)
	}
	if err := commands.Register(ctx, registry, pay, book); err != nil {
		log.Fatal(err)
	}
	b, err := brokers.Open(ctx, "jetstream://localhost:4222")
	if err != nil {
		log.Fatal(err)
	}
	fleet, err := b.Fleet(ctx, fleet.Options{Namespace: "shop"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := registry.RegisterChannel(ctx, fleet.Channel()); err != nil {
		log.Fatal(err)
	}
	<-fleet.Done()
}
