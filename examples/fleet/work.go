package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/leatbus/leat/commands"
)

// request and reply of both commands.
type request struct {
	Number int `json:"number"`
}

type reply struct {
	Number int    `json:"number"`
	Worker string `json:"worker"`
}

var (
	// An order must not be placed twice: when its worker dies, the call fails, and the caller decides.
	order = commands.Define[request, reply]("shop.order", "Place an order")
	// A quote may be asked for twice: when its worker dies, the request is sent to another one.
	quote = commands.Define[request, reply]("shop.quote", "Ask for a price", commands.Options{Idempotent: true})
)

// serve registers the commands at a worker's registry.
func serve(ctx context.Context, r *commands.Registry) error {
	handler := func(ctx context.Context, q request) (reply, error) {
		select {
		case <-time.After(5*time.Millisecond + rand.N(20*time.Millisecond)): // the work
			return reply{q.Number, r.ID()}, nil
		case <-ctx.Done(): // the caller has given up, or the worker stops
			return reply{}, ctx.Err()
		}
	}
	if err := commands.Register(ctx, r, order, handler); err != nil {
		return err
	}
	return commands.Register(ctx, r, quote, handler)
}
