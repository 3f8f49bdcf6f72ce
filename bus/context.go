package bus

import (
	"context"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// MaxDepth bounds how deep calls nest: the number of handlers and listeners
// that may, one by one, have caused a request. MaxHops bounds how many
// registries may forward a message.
const (
	MaxDepth = 16
	MaxHops  = 16
)

type (
	depthKey    struct{}
	metadataKey struct{}
	deliveryKey struct{}
)

// depthContext carries the depth in one allocation, where context.WithValue
// would take two for larger values.
type depthContext struct {
	context.Context
	depth int
}

func (c *depthContext) Value(key any) any {
	if _, ok := key.(depthKey); ok {
		return c.depth
	}
	return c.Context.Value(key)
}

// MinLife is the life that an event must have left to be relayed: less is lost
// between two looks at the clock.
const MinLife = time.Millisecond

// WithDepth returns a context for a handler or listener run that depth others
// have caused. What is sent with it carries that depth.
func WithDepth(ctx context.Context, depth int) context.Context {
	return &depthContext{ctx, depth}
}

// Depth returns the number of handlers and listeners that led to ctx: 0
// outside of any.
func Depth(ctx context.Context) int {
	if c, ok := ctx.(*depthContext); ok {
		return c.depth
	}
	d, _ := ctx.Value(depthKey{}).(int)
	return d
}

// WithMetadata returns a context with which messages sent carry the entries of
// md in addition to those that ctx has, for example a correlation_id or a
// traceparent. Keys that begin with "leat-" are leat's own and are ignored. A broker may want
// keys of letters, digits, "-", "_" and "."; for values see [Escape].
func WithMetadata(ctx context.Context, md message.Metadata) context.Context {
	old := MetadataFrom(ctx)
	all := make(message.Metadata, len(old)+len(md))
	maps.Copy(all, old)
	for k, v := range md {
		if !strings.HasPrefix(k, keyPrefix) {
			all[k] = v
		}
	}
	return context.WithValue(ctx, metadataKey{}, all)
}

// MetadataFrom returns the entries that came with the request or event which
// is being handled, or that [WithMetadata] set. Read only; may be nil.
func MetadataFrom(ctx context.Context) message.Metadata {
	md, _ := ctx.Value(metadataKey{}).(message.Metadata)
	return md
}

// Delivery is one message on its way in: what the pump hands to the inbound
// middleware (as the message's context) and to the layers. It is a context
// that lives as long as its link, and whose depth is that of the handler run.
type Delivery struct {
	context.Context // of the link

	Link     *Link
	Envelope Envelope
	// Message is what was received, acked already.
	Message *message.Message

	parcel *parcel       // that it came as: handed over by a link in this process, once
	size   uint32        // what the envelope weighs, as a parcel; else 0
	state  atomic.Uint32 // of a parcel's own delivery: what has become of the parcel

	after atomic.Uint64 // requests: the number, on its link, of the event that the reply must not pass; see causal.go
}

// Size is what the envelope weighs: see [Envelope.Size].
func (d *Delivery) Size() int {
	if d.parcel != nil {
		return int(d.size)
	}
	return d.Envelope.Size()
}

// Value implements context.Context.
func (d *Delivery) Value(key any) any {
	switch key.(type) {
	case deliveryKey:
		return d
	case depthKey:
		return d.Envelope.Depth + 1
	case metadataKey:
		return d.Envelope.Metadata
	}
	return d.Context.Value(key)
}

// DeliveryFrom returns the delivery that a message's context belongs to:
// inbound middleware finds there what the message is and where it came from.
func DeliveryFrom(ctx context.Context) (*Delivery, bool) {
	if d, ok := ctx.(*Delivery); ok {
		return d, true
	}
	d, ok := ctx.Value(deliveryKey{}).(*Delivery)
	return d, ok
}
