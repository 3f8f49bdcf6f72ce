package events

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Flush waits until every event emitted here before has been accepted by the
// peers, that is: is in their listeners' queues and on its way to theirs, and has been handled by the local
// listeners. Called by a listener it does not wait for that listener itself;
// two listeners that flush wait for each other, until a ctx ends.
// It returns ctx.Err() when ctx ends first, and an error for each link that closed meanwhile.
func (h *Hub) Flush(ctx context.Context) error {
	links := h.bus.Links()
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
	listeners := slices.DeleteFunc(h.listeners(), func(l *Listener) bool { return l == self })
	barriers := make([]chan struct{}, len(listeners))
	for i, l := range listeners {
		barriers[i] = make(chan struct{})
		l.push(item{barrier: barriers[i]})
	}
	for i, reached := range barriers {
		select {
		case <-reached:
		case <-ctx.Done():
			for j := i; j < len(listeners); j++ { // one that is stuck must not collect them
				listeners[j].forgetBarrier(barriers[j])
			}
			return ctx.Err()
		}
	}
	return nil
}
