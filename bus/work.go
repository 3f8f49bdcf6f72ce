package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/leatbus/leat/internal/contain"
)

// work counts what a drain waits for: handlers, calls and queued events.
type work struct {
	n        atomic.Int64
	draining atomic.Bool
	idle     chan struct{} // capacity 1: n reached 0 while draining
}

// Begin counts one piece of work in: a handler run, a call, an event in a
// listener's queue. Each needs its End. Draining waits for all of them.
func (b *Bus) Begin() { b.work.n.Add(1) }

// End counts it out.
func (b *Bus) End() {
	if b.work.n.Add(-1) == 0 && b.work.draining.Load() {
		b.work.wake()
	}
}

// wake makes a goroutine that drains look again.
func (w *work) wake() {
	select {
	case w.idle <- struct{}{}:
	default:
	}
}

// Draining reports whether Drain or Close was called: work that nothing
// already running has caused is to be refused.
func (b *Bus) Draining() bool { return b.work.draining.Load() }

// Drain lets the channels withdraw, makes Draining true, and waits until no work is left, or for ctx. It returns what the
// channels have returned, and what was left.
func (b *Bus) Drain(ctx context.Context) error {
	links := b.Links()
	errs := make([]error, len(links))
	var withdrawing sync.WaitGroup
	for i, l := range links {
		if l.ch.Draining != nil {
			withdrawing.Go(func() {
				var err error
				if broken := contain.Do(func() { err = l.ch.Draining(ctx) }); broken != nil {
					err = l.broken("Channel.Draining", broken)
				}
				errs[i] = err
			})
		}
	}
	withdrawing.Wait()
	b.work.draining.Store(true)
	return errors.Join(errors.Join(errs...), b.AwaitIdle(ctx))
}

// AwaitIdle waits until no work is left, or for ctx, after Drain was called: what running work has caused elsewhere may have
// brought more since.
func (b *Bus) AwaitIdle(ctx context.Context) error {
	defer b.work.wake() // others may drain too, and there is one wake-up for all
	for b.work.n.Load() > 0 {
		select {
		case <-b.work.idle:
		case <-ctx.Done():
			return fmt.Errorf("%d handlers, calls or queued events were left: %w", b.work.n.Load(), ctx.Err())
		}
	}
	return nil
}
