package commands

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// ShutdownAll shuts several registries of one process down as one, in whatever
// order they are given: none closes before all are at rest. A handler that
// still runs at one of them can so call the others, and what it emits reaches
// their listeners. For the rest it is [Registry.Shutdown] of each, with one
// ctx; the errors are joined.
//
// Registries that are shut down one after the other, or in parallel, close as
// soon as they have nothing to do themselves: calls of another one's running
// handlers then fail with ChannelDisconnected.
func ShutdownAll(ctx context.Context, registries ...*Registry) error {
	errs := each(registries, func(r *Registry) error { return r.drain(ctx) })
	if len(registries) > 1 {
		for errors.Join(errs...) == nil && !rested(ctx, registries, errs) {
		}
	}
	closed := each(registries, (*Registry).Close)
	for i := range errs {
		if errs[i] == nil {
			errs[i] = closed[i]
		}
	}
	return errors.Join(errs...)
}

// rested waits until the events of the registries have taken one hop more and are handled, and no work is left. False if any has
// moved, or was emitted, meanwhile. Errors go into errs.
func rested(ctx context.Context, registries []*Registry, errs []error) bool {
	before := moved(registries)
	each(registries, func(r *Registry) error { return r.hub.Flush(ctx) }) // a link that has closed has nothing to wait for
	copy(errs, each(registries, func(r *Registry) error { return r.unfinished(r.bus.AwaitIdle(ctx)) }))
	return moved(registries) == before
}

// moved counts how often an event has entered one of the registries.
func moved(registries []*Registry) (n uint64) {
	for _, r := range registries {
		s := r.hub.Stats()
		n += s.Emitted + s.Received
	}
	return n
}

// each calls fn for all registries at once.
func each(registries []*Registry, fn func(*Registry) error) []error {
	errs := make([]error, len(registries))
	var wg sync.WaitGroup
	for i, r := range registries {
		wg.Go(func() { errs[i] = fn(r) })
	}
	wg.Wait()
	return errs
}

// drain refuses new work and waits until what runs has ended.
func (r *Registry) drain(ctx context.Context) error {
	r.leaving.Store(true)
	r.mu.Lock()
	peers := slices.Collect(maps.Values(r.peers))
	r.mu.Unlock()
	for _, p := range peers {
		p.sweep()
	}
	return r.unfinished(r.bus.Drain(ctx))
}

// unfinished says what a shutdown that has ended early has left.
func (r *Registry) unfinished(err error) error {
	if err == nil {
		return nil
	}
	s := r.Stats()
	return fmt.Errorf("shutdown of %q: %w; without an answer: %d requests from peers, %d to peers", r.cfg.ID, err, s.Serving, s.Pending)
}
