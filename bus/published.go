package bus

import (
	"context"
	"errors"
	"time"
)

// publishedPause is when a queue that is full is looked at again.
const publishedPause = 100 * time.Millisecond

// Published waits until everything that was sent before has been published, or
// given up. It returns ctx.Err(), or an error that wraps [ErrClosed] or
// [ErrPeerClosed] when the link ends before.
func (l *Link) Published(ctx context.Context) error {
	for {
		err := l.flushOut(ctx)
		if !errors.Is(err, ErrFull) {
			return err
		}
		again := make(chan struct{})
		timer := time.AfterFunc(publishedPause, func() { close(again) })
		err = l.await(ctx, again)
		timer.Stop()
		if err != nil {
			return err
		}
	}
}
