package bus

import "context"

// Published waits until everything that was sent before has been published, or
// given up. It returns ctx.Err(), or an error that wraps [ErrClosed] or
// [ErrPeerClosed] when the link ends before.
func (l *Link) Published(ctx context.Context) error { return l.flushOut(ctx) }
