package commands

import (
	"context"

	"github.com/leatbus/leat/bus"
)

type stickyKey struct{}

// sticky is a key, and the depth at which it was set.
type sticky struct {
	key   string
	depth int
}

// WithKey returns a context whose calls name what they are about. Where several processes serve a command, calls with
// the same key go to the same one while the set of those processes stays the same, and when it changes, as few keys as
// possible move. The key says nothing about commands that are served in one place only.
//
// A call with a key of a command whose requests go through a queue (Options.Durable, in a fleet) is refused with
// [ErrInvalidRequest]: a queue gives each request to whichever process is free, and a request comes again later when its
// process dies, so that no process, and no order, could be promised for a key. Let the handler put in order what has
// to be, in the transaction that brokers.Tx gives it, say.
//
// It counts for the calls that are made with the context, over any number of hops, and not for those that their
// handlers make. An empty key is none.
func WithKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, stickyKey{}, sticky{key, bus.Depth(ctx)})
}

// keyFrom returns the key of calls made with ctx.
func keyFrom(ctx context.Context) string {
	if s, ok := ctx.Value(stickyKey{}).(sticky); ok && s.depth == bus.Depth(ctx) {
		return s.key
	}
	return ""
}
