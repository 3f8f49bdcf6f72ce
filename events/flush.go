package events

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// ErrUnhandled is matched by what Flush returns when events that it has waited for were dropped by their listener.
var ErrUnhandled = errors.New("events were not handled")

// barrier is the mark of a Flush in the queue of one listener, and in those of the listeners that take its events over.
type barrier struct {
	done   chan struct{} // closed when it has passed all of them
	places atomic.Int64  // how many it has not passed
	lost   atomic.Int64  // events before it that were dropped
	closed atomic.Bool   // the listener has closed
}

func newBarrier() *barrier {
	b := &barrier{done: make(chan struct{})}
	b.places.Store(1)
	return b
}

func (b *barrier) pass() {
	if b.places.Add(-1) == 0 {
		close(b.done)
	}
}

// Flush waits until every event emitted here before has been accepted by the
// peers, that is: is in their listeners' queues and on its way to theirs, and has been handled by the local
// listeners. Called by a listener it does not wait for that listener itself;
// two listeners that flush wait for each other, until a ctx ends.
//
// It returns ctx.Err() when ctx ends first, an error for each link that closed meanwhile, and one that wraps
// [ErrUnhandled] for each listener that has dropped events meanwhile, at its bound or because it closed. After Close it
// returns [ErrClosed].
func (h *Hub) Flush(ctx context.Context) error {
	links := h.bus.Links()
	if err := h.bus.Emit(func(func() string) {}); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	errs := make([]error, len(links)+1)
	var wg sync.WaitGroup
	for i, l := range links {
		wg.Go(func() { errs[i] = l.Flush(ctx) })
	}
	errs[len(links)] = h.flushLocal(ctx)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// flushLocal puts a barrier into each listener's queue and waits for all.
func (h *Hub) flushLocal(ctx context.Context) error {
	self, _ := ctx.Value(listenerKey{}).(*Listener)
	listeners, open := h.listeners()
	if !open {
		return ErrClosed
	}
	listeners = slices.DeleteFunc(listeners, func(l *Listener) bool { return l == self })
	barriers := make([]*barrier, len(listeners))
	for i, l := range listeners {
		barriers[i] = newBarrier()
		l.push(item{barrier: barriers[i]})
	}
	var errs []error
	for i, b := range barriers {
		err := listeners[i].passed(ctx, b)
		if ctx.Err() != nil && err != nil {
			for j := i; j < len(listeners); j++ { // one that is stuck must not collect them
				listeners[j].forgetBarrier(barriers[j])
			}
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// passed waits until the barrier, and the run that a listener which closes is at, have ended.
func (l *Listener) passed(ctx context.Context, b *barrier) error {
	select {
	case <-b.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	closed := b.closed.Load()
	if closed {
		select {
		case <-l.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	switch n := b.lost.Load(); {
	case n == 0:
		return nil
	case closed:
		return fmt.Errorf("listener %q closed: %d %w", l.pattern.String(), n, ErrUnhandled)
	default:
		return fmt.Errorf("listener %q had no room: %d %w", l.pattern.String(), n, ErrUnhandled)
	}
}
