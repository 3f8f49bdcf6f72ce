// One process: two registries, joined by a pair of channels in memory.
//
//	go run ./examples/getting-started/one
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/examples/getting-started/shop"
	"github.com/leatbus/leat/pairing"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	app, err := commands.NewRegistry(commands.Config{ID: "app"})
	if err != nil {
		return err
	}
	defer app.Close()
	worker, err := commands.NewRegistry(commands.Config{ID: "worker", RouterChannel: "app"})
	if err != nil {
		return err
	}
	defer worker.Close()

	// The pair: app calls its peer "worker", worker calls its peer "app".
	toWorker, toApp := pairing.InMemory("worker", "app")
	if _, err := app.RegisterChannel(ctx, toWorker); err != nil {
		return err
	}
	link, err := worker.RegisterChannel(ctx, toApp)
	if err != nil {
		return err
	}
	if err := link.WaitReady(ctx); err != nil {
		return err
	}

	// The worker registers the command with its router, the app, too.
	if err := shop.Serve(ctx, worker); err != nil {
		return err
	}

	_, err = events.Listen(app.Events(), shop.Quoted, func(_ context.Context, p shop.Price) {
		fmt.Println("event:", p.Cents)
	})
	if err != nil {
		return err
	}
	p, err := commands.Execute(ctx, app, shop.Quote, shop.Order{Article: "tea", Count: 3})
	if err != nil {
		return err
	}
	if err := app.Shutdown(ctx); err != nil { // waits for the listener
		return err
	}
	fmt.Println("price:", p.Cents, "from", p.From)
	return nil
}
