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
