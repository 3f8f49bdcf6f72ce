package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/leatbus/leat/commands"
)

// story runs the shop, orders, calls and orders again. What happens is written to w.
func story(ctx context.Context, w io.Writer) (err error) {
	s, err := newShop(w)
	if err != nil {
		return err
	}
	registry, err := s.addRPC(ctx)
	if err != nil {
		return err
	}
	ran := make(chan error, 1)
	go func() { ran <- s.router.Run(ctx) }()
	<-s.router.Running()
	defer func() {
		// Links first, while there is a Router to carry their goodbye.
		err = errors.Join(err, registry.Close(), s.router.Close(), <-ran, s.pubsub.Close())
	}()
	client, err := newClient(ctx, s.pubsub)
	if err != nil {
		return err
	}
	defer client.Close()

	if err := s.order(order{SKU: "tea", Count: 3}); err != nil {
		return err
	}
	call(ctx, client, w, order{SKU: "cup", Count: 2})
	call(ctx, client, w, order{SKU: "hat", Count: 1})
	if err := s.order(order{SKU: "cup", Count: 2}); err != nil {
		return err
	}
	fmt.Fprintf(w, "middleware saw %d orders, %d receipts\n", s.seen.of("charge"), s.seen.of("print"))
	fmt.Fprintf(w, "middleware saw RPC messages: %t\n", s.seen.of("rpc") > 0)
	return nil
}

func call(ctx context.Context, client *commands.Registry, w io.Writer, o order) {
	cents, err := commands.Execute(ctx, client, quote(), o)
	if err != nil {
		fmt.Fprintf(w, "quote for %d x %s fails: %s: %v\n", o.Count, o.SKU, commands.CodeOf(err), err)
		return
	}
	fmt.Fprintf(w, "quote for %d x %s: %d cents\n", o.Count, o.SKU, cents)
}
