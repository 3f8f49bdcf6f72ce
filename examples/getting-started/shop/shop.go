// Package shop is what all processes of the tutorial share: a command, an event, and the handler.
package shop

import (
	"context"

	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
)

type Order struct {
	Article string `json:"article"`
	Count   int    `json:"count"`
}

type Price struct {
	Cents int    `json:"cents"`
	From  string `json:"from"` // the registry that has executed the command
}

var (
	Quote  = commands.Define[Order, Price]("shop.quote", "Price of an order")
	Quoted = events.Define[Price]("shop.quoted")
)

var cents = map[string]int{"tea": 390, "cup": 1250}

// Serve registers the handler of Quote. It emits Quoted before it returns.
func Serve(ctx context.Context, r *commands.Registry) error {
	return commands.Register(ctx, r, Quote, func(ctx context.Context, o Order) (Price, error) {
		each, ok := cents[o.Article]
		if !ok {
			return Price{}, commands.Errorf(commands.NotFound, "no article %q", o.Article)
		}
		p := Price{Cents: each * o.Count, From: r.ID()}
		return p, events.Emit(ctx, r.Events(), Quoted, p)
	})
}
