package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

// work runs a worker process. It leaves in good order when its standard input ends, which happens
// however the caller ends.
func work(url, namespace, id string) (err error) {
	signal.Ignore(os.Interrupt) // Ctrl-C goes to all processes of the terminal; the caller decides
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	b, err := brokers.Open(ctx, url, onBroker(log))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	r, err := commands.NewRegistry(commands.Config{ID: id, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := serve(ctx, r); err != nil {
		return err
	}
	fleet, err := join(ctx, b, r, fleet.Options{Namespace: namespace, ID: id, Lease: lease, Logger: log})
	if err != nil {
		return err
	}
	fmt.Println(ready)
	_, _ = io.Copy(io.Discard, os.Stdin)

	ctx, cancel = context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return fleet.Leave(ctx)
}

// ready is the line that a worker writes when it can be called.
const ready = "ready"
