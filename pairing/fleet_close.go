package pairing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/leatbus/leat/bus"
)

// Leave ends this process's part in the fleet in good order: the others are told that it serves nothing any more and has
// no listeners in groups; requests that still come are sent back, to be sent elsewhere; those that run are finished and their replies
// sent, and events that the others had already meant for it are taken; then
// it says goodbye and ends, and with it the link. Calls of its own registry that still wait fail then, and what its listeners
// have yet to handle they handle without a fleet: Registry.Shutdown waits for both, withdraws from the fleet in the same way, and
// is what a process that ends calls. When ctx ends first it closes all the same, and returns an error that says what was left.
func (f *Fleet) Leave(ctx context.Context) error {
	f.withdraw(ctx)
	finished := f.finished(ctx)
	if finished {
		finished = f.pass(ctx)
	}
	if !finished {
		f.mu.Lock()
		left := len(f.serving) + len(f.jobs)
		f.mu.Unlock()
		err := fmt.Errorf("leave: %d requests were left: %w", left, ctx.Err())
		return errors.Join(err, f.end(bus.ErrClosed))
	}
	return f.end(bus.ErrClosed)
}

// withdraw tells the others not to choose this process any more, and returns when all have understood and what they had
// chosen it for has come: at most a lease later, if one is not heard of, or the broker is away.
func (f *Fleet) withdraw(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, f.opts.Lease)
	defer cancel()
	id, fl := bus.NewID(), &flushing{waits: make(map[process]bool), since: time.Now(), done: make(chan struct{})}
	f.update(func(*effects) {
		if !f.draining {
			f.draining = true
			f.stopQueues()
			f.change(catalogue{Clear: true})
			f.withdrawn = f.version
		}
		f.settleIdle()
		if f.err != nil || !f.isReady() || len(f.members) == 0 {
			close(fl.done)
			return
		}
		for _, m := range f.members {
			fl.waits[m.process] = true
		}
		fl.version = f.withdrawn
		f.flushes[id] = fl
		f.mark(id, fl)
	})
	defer f.update(func(*effects) { delete(f.flushes, id) })
	select {
	case <-fl.done:
		f.pass(ctx) // into the queues of the listeners
	case <-f.closing:
	case <-ctx.Done():
		f.log.Warn("leaving without the confirmation of all processes, messages under way may be lost", "error", ctx.Err().Error())
	}
}

// finished waits until nothing is served any more. False if ctx ends first.
func (f *Fleet) finished(ctx context.Context) bool {
	select {
	case <-f.idle:
	case <-f.closing:
	case <-ctx.Done():
		return false
	}
	return true
}

// pass waits until the fleet has what the registry has sent so far: events may still be in the link's queue. False if
// ctx ends first.
func (f *Fleet) pass(ctx context.Context) bool {
	id, passed := bus.NewID(), make(chan struct{})
	f.mu.Lock()
	if f.link == nil || !f.link.greeted {
		f.mu.Unlock()
		return true
	}
	ended := f.link.ended
	f.barriers[id] = passed
	f.mu.Unlock()
	defer f.passed(id)
	f.hand(bus.Envelope{ID: id, Type: bus.Flush})
	select {
	case <-passed:
	case <-ended:
	case <-f.closing:
	case <-ctx.Done():
		return false
	}
	return true
}

// passed releases who waits for that.
func (f *Fleet) passed(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.barriers[id]; c != nil {
		delete(f.barriers, id)
		close(c)
	}
}

// Close ends this process's part in the fleet: it says goodbye, so that the others need not wait for its lease, and
// ends the link, so that calls that wait fail and handlers that serve others are cancelled. It returns when that is
// done, at most about twice CloseTimeout later; it does not wait for handlers and listeners. Idempotent, from any goroutine;
// inbound middleware should not call it, since it waits for the goroutine that runs that.
func (f *Fleet) Close() error { return f.end(bus.ErrClosed) }

// end does it; the first one's reason counts.
func (f *Fleet) end(why error) error {
	link, first := f.startEnd(why)
	if !first {
		<-f.done
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.closeErr
	}
	f.detach(link)
	err := f.shutBoxes()
	f.cancel()
	if !f.within(f.workers.Wait) {
		err = errors.Join(err, fmt.Errorf("fleet %q: publisher or subscriber did not end in time", f.opts.Namespace))
	}
	err = errors.Join(err, f.seen.Close(), f.heardEvents.Close())
	if f.opts.Close != nil {
		err = errors.Join(err, f.opts.Close())
	}
	f.mu.Lock()
	f.closeErr = err
	f.mu.Unlock()
	close(f.done)
	return err
}

// startEnd decides who ends the fleet, and says goodbye.
func (f *Fleet) startEnd(why error) (link *attachment, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, false
	}
	drained := f.draining && len(f.serving) == 0
	for _, m := range f.members {
		f.post(m, &letter{kind: kindBye, drained: drained})
	}
	f.err = why
	f.look()
	f.stopQueues()
	close(f.closing)
	clear(f.calls)
	clear(f.serving)
	return f.link, true
}

// shutBoxes lets the outboxes publish what is in them.
func (f *Fleet) shutBoxes() error {
	f.mu.Lock()
	boxes := []*outbox{f.discovery, f.events}
	for _, m := range f.members {
		boxes = append(boxes, m.box)
	}
	boxes = slices.AppendSeq(boxes, maps.Values(f.outlets))
	f.mu.Unlock()
	for _, box := range boxes {
		box.close(func(*outItem) bool { return true })
	}
	if f.within(func() {
		for _, box := range boxes {
			<-box.done
		}
	}) {
		return nil
	}
	left := 0
	for _, box := range boxes {
		left += len(box.close(func(*outItem) bool { return false }))
	}
	f.count.unsent.Add(uint64(left))
	return fmt.Errorf("fleet %q: %d messages were not published in time", f.opts.Namespace, left)
}

// within waits for fn, at most CloseTimeout, and reports whether it returned.
func (f *Fleet) within(fn func()) bool {
	returned := make(chan struct{})
	go func() { fn(); close(returned) }()
	timer := time.NewTimer(f.opts.CloseTimeout)
	defer timer.Stop()
	select {
	case <-returned:
		return true
	case <-timer.C:
		return false
	}
}

// errTwin is why a fleet ends that is not the last to have begun under its ID.
var errTwin = errors.New("another process has begun under the same ID")
