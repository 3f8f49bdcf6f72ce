package commands

import (
	"context"

	"github.com/leatbus/leat/bus"
)

type onceKey struct{}

// WithOnce returns a context whose calls are to have one effect, however often they are made: calls of one command
// with the same key are one call, for middleware that keeps the replies (brokers.PostgresReplies, brokers.RedisReplies). The
// handler runs for the first; all others, from whatever process, get its reply, be it a result or an error of the handler, for as
// long as it is kept. So a caller that does not know what became of a call makes it again with the same key, and the same
// request: with another one the key is refused as an invalid request. A request that no handler has seen, because it was invalid or
// middleware has refused it, leaves the key as it was. Where replies are not kept the key changes nothing.
//
// Make a key for each intent, such as the ID of an order: a UUID that is stored with what it is for. It is not secret, and
// crosses the wire. As with [WithKey], it does not count for the calls that handlers make. An empty key is none.
func WithOnce(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, onceKey{}, sticky{key, bus.Depth(ctx)})
}

// OnceKey returns, in a handler and in handler middleware, what names the request that is being handled: the same each time
// that it is delivered. It is the caller's key if there is one, else, for a durable command in a fleet, one of the
// caller's process and the request. Empty: it has none. Hand it on to whatever else is to do a thing once.
func OnceKey(ctx context.Context) string {
	depth := bus.Depth(ctx)
	if s, ok := ctx.Value(onceKey{}).(sticky); ok && s.depth == depth-1 { // a local call
		return s.key
	}
	if d, ok := bus.DeliveryFrom(ctx); ok && d.Envelope.Type == bus.ExecuteRequest && d.Envelope.Depth == depth-1 {
		return d.Envelope.Once
	}
	return ""
}

// onceFrom returns the key of calls made with ctx.
func onceFrom(ctx context.Context) string {
	if s, ok := ctx.Value(onceKey{}).(sticky); ok && s.depth == bus.Depth(ctx) {
		return s.key
	}
	return ""
}
