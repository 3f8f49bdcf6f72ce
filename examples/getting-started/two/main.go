// Two processes: the same registries, joined over NATS.
//
//	go run ./examples/getting-started/two worker nats://127.0.0.1:4222
//	go run ./examples/getting-started/two app nats://127.0.0.1:4222
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
	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/examples/getting-started/shop"
	"github.com/leatbus/leat/pairing"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: two app|worker URL")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := app
	if os.Args[1] == "worker" {
		run = worker
	}
	if err := run(ctx, os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

// worker serves the command until it is interrupted.
func worker(ctx context.Context, url string) (err error) {
	b, err := brokers.Open(ctx, url, brokers.Options{Namespace: "getting-started"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	r, err := commands.NewRegistry(commands.Config{ID: "worker", RouterChannel: "app"})
	if err != nil {
		return err
	}
	defer r.Close()
	if err := shop.Serve(ctx, r); err != nil { // before Connect: the app gets it with the handshake
		return err
	}
	toApp := pairing.Connect(context.Background(), r, func() (*bus.Channel, error) {
		return b.Join("worker", "app"), nil
	})
	defer toApp.Close()

	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return r.Shutdown(ctx)
}

// app waits for the worker, calls it, and ends.
func app(ctx context.Context, url string) (err error) {
	b, err := brokers.Open(ctx, url, brokers.Options{Namespace: "getting-started"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	r, err := commands.NewRegistry(commands.Config{ID: "app"})
	if err != nil {
		return err
	}
	defer r.Close()
	toWorker := pairing.Connect(ctx, r, func() (*bus.Channel, error) {
		return b.Join("app", "worker"), nil
	})
	defer toWorker.Close()
	if err := toWorker.Ready(ctx); err != nil {
		return err
	}

	p, err := commands.Execute(ctx, r, shop.Quote, shop.Order{Article: "cup", Count: 2})
	if err != nil {
		return err
	}
	fmt.Println("price:", p.Cents, "from", p.From)
	return nil
}
