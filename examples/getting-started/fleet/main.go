// A fleet: any number of workers on one broker, and a caller that need not know them.
//
//	go run ./examples/getting-started/fleet worker-1 nats://127.0.0.1:4222
//	go run ./examples/getting-started/fleet worker-2 nats://127.0.0.1:4222
//	go run ./examples/getting-started/fleet app nats://127.0.0.1:4222
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/examples/getting-started/shop"
	"github.com/leatbus/leat/pairing/fleet"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: fleet NAME URL")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

// run is one process of the fleet: the app if that is its name, else a worker.
func run(ctx context.Context, name, url string) (err error) {
	b, err := brokers.Open(ctx, url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	r, err := commands.NewRegistry(commands.Config{ID: name})
	if err != nil {
		return err
	}
	defer r.Close()
	if name != "app" {
		if err := shop.Serve(ctx, r); err != nil {
			return err
		}
	}
	fleet, err := b.Fleet(ctx, fleet.Options{Namespace: "getting-started", ID: name})
	if err != nil {
		return err
	}
	if _, err := r.RegisterChannel(ctx, fleet.Channel()); err != nil {
		return errors.Join(err, fleet.Close())
	}
	if err := fleet.Ready(ctx); err != nil {
		return err
	}
	if name == "app" {
		err = call(ctx, r, fleet)
	} else {
		fmt.Println("ready")
		<-ctx.Done() // until it is interrupted
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(err, r.Shutdown(ctx)) // leaves the fleet in good order
}

// call asks for a price once a worker serves it, whichever that is.
func call(ctx context.Context, r *commands.Registry, fleet *fleet.Fleet) error {
	if err := fleet.Await(ctx, shop.Quote.ID()); err != nil {
		return err
	}
	for count := range 4 {
		p, err := commands.Execute(ctx, r, shop.Quote, shop.Order{Article: "tea", Count: count + 1})
		if err != nil {
			return err
		}
		fmt.Println("price:", p.Cents, "from", p.From)
	}
	return nil
}
