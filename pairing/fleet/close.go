package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/leatbus/leat/bus"
)

// Leave ends this process's part in the fleet in good order: the others are told that it serves nothing any more and has
// no listeners in groups; requests that still come are sent back, to be sent elsewhere; those that run are finished and their replies
// sent, and events that the others had already meant for it are taken; then
// it says goodbye and ends, and with it the link. Calls of its own registry that still wait fail then, and what its listeners
// have yet to handle they handle without a fleet: Registry.Shutdown waits for both, withdraws from the fleet in the same way, and
// is what a process that ends calls. It waits for as long as ctx allows for the others that are alive; when ctx ends first it closes
// all the same, and returns an error that says what was left.
func (f *Fleet) Leave(ctx context.Context) error {
	err := f.withdraw(ctx)
	if finished := f.finished(ctx) && f.pass(ctx) && f.letsOut(ctx); !finished && f.Err() == nil {
		f.mu.Lock()
		left := len(f.serving) + len(f.jobs)
		f.mu.Unlock()
		err = errors.Join(err, fmt.Errorf("leave: %d requests were left: %w", left, ctx.Err()))
		f.hasten()
	}
	return errors.Join(err, f.end(bus.ErrClosed))
}

// leave is how this process withdraws. Guarded by Fleet.mu.
type leave struct {
	id     string
	waits  map[*member]bool     // that have not confirmed
	events map[string]time.Time // for which this process was picked, which have not come, and when that was said
	since  time.Time            // when it has begun
	timer  *time.Timer          // until those are not waited for that have drained themselves, and are silent
	missed int                  // of these: those that are not waited for any more
	done   chan struct{}        // closed when nothing can come any more
}

// withdraw tells the others not to choose this process any more, and returns when all have understood and what they had
// chosen it for has come, or with ctx, and an error then that says what is missing.
func (f *Fleet) withdraw(ctx context.Context) error {
	var l *leave
	f.update(func(*effects) {
		if !f.draining {
			f.draining = true
			f.stopQueues()
			f.startLeave()
		}
		f.settleIdle()
		l = f.leave
	})
	if l == nil { // it was closing
		return nil
	}
	select {
	case <-l.done:
		f.pass(ctx) // into the queues of the listeners
	case <-f.closing:
	case <-ctx.Done():
		f.hasten()
		return f.unconfirmed(l, ctx.Err())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.missed > 0 {
		return fmt.Errorf("leave: %d events for which this process was picked have not come", l.missed)
	}
	return nil
}

// startLeave asks all. f.mu is held.
func (f *Fleet) startLeave() {
	l := &leave{id: bus.NewID(), waits: make(map[*member]bool), events: make(map[string]time.Time), done: make(chan struct{})}
	f.leave = l
	if f.err == nil && f.isReady() {
		for _, m := range f.members {
			switch {
			case m.foreign || m.closing:
			case m.draining && m.serving == nil && f.taken[m.session] == "": // it has never sent anything, and hardly will
			default:
				l.waits[m] = true
				f.observe(m)
			}
		}
	}
	l.since = time.Now()
	l.timer = time.AfterFunc(min(f.opts.Lease/3, leaverWait), func() { f.update(func(*effects) { f.excuseSilent(l) }) })
	if len(l.waits) > 0 {
		drain := &letter{kind: kindDrain, thread: l.id}
		f.introduce(drain)
		f.mail(f.discovery, outItem{letter: drain})
	}
	f.settleLeave(time.Now())
}

// repeatDrain asks those again that have not confirmed. f.mu is held.
func (f *Fleet) repeatDrain(now time.Time) {
	if f.leave == nil {
		return
	}
	for m := range f.leave.waits {
		if m.watch.drained.IsZero() {
			m.watch.drained = now // it is just being asked
			continue
		}
		f.post(m, &letter{kind: kindDrain, thread: f.leave.id})
	}
}

// unconfirmed says who has not confirmed.
func (f *Fleet) unconfirmed(l *leave, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for m := range l.waits {
		names = append(names, m.id)
	}
	slices.Sort(names)
	n := len(names)
	if n > 5 {
		names = append(names[:5], "…")
	}
	f.count.unconfirmed.Add(uint64(n + len(l.events)))
	what := fmt.Sprintf("%d processes have not confirmed that this one leaves (%s)", n, strings.Join(names, ", "))
	if n == 0 {
		what = fmt.Sprintf("%d events for which this process was picked have not come", len(l.events))
	}
	f.log.Warn("leaving without the confirmation of all processes, messages under way may be lost", "error", what)
	return fmt.Errorf("leave: %s: %w", what, err)
}

// drains takes that a member is about to leave: it is not chosen any more, and told so behind all that was sent to it. f.mu is held.
func (f *Fleet) drains(m *member, l *letter, fx *effects) {
	if !m.draining {
		m.draining, m.drainOf, m.drainAt = true, l.sent, time.Now()
		m.watch.since = time.Now()
		f.retire(m)
		f.observe(m)
		for id, fl := range f.flushes { // it may end without an answer
			f.flushedBy(id, fl, m.process, fx)
		}
	}
	f.post(m, &letter{kind: kindConfirm, thread: l.thread, body: []byte(m.picked)})
}

// confirmed takes that a member chooses this process no more: it has sent all, but for an event that may still be on its way. f.mu is
// held.
func (f *Fleet) confirmed(m *member, l *letter) {
	lv := f.leave
	if lv == nil { // this process has not said that it leaves
		beat := &letter{kind: kindBeat}
		f.introduce(beat)
		f.post(m, beat)
		return
	}
	if l.thread != lv.id || !lv.waits[m] {
		return
	}
	delete(lv.waits, m)
	if event := string(l.body); event != "" && f.taken[m.session] != event {
		lv.events[event] = time.Now()
	}
	f.settleLeave(time.Now())
}

// took notes an event for which this process was picked. f.mu is held.
func (f *Fleet) took(session, event string) {
	if _, there := f.taken[session]; !there && len(f.taken) >= maxLeft {
		for other := range f.taken { // any
			delete(f.taken, other)
			break
		}
	}
	f.taken[session] = event
	if f.leave != nil {
		delete(f.leave.events, event)
		f.settleLeave(time.Now())
	}
}

// excuse does not wait for a member that has gone. f.mu is held.
func (f *Fleet) excuse(m *member) {
	if f.leave != nil {
		delete(f.leave.waits, m)
		f.settleLeave(time.Now())
	}
}

// leaverWait is how long a process that leaves waits at most for a word of another one that was leaving before: that may have ended.
const leaverWait = time.Second

// excuseSilent does not wait for those any more that have drained before and say nothing. f.mu is held.
func (f *Fleet) excuseSilent(l *leave) {
	for m := range l.waits {
		if m.draining && m.heard.Before(l.since) {
			delete(l.waits, m)
		}
	}
	f.settleLeave(time.Now())
}

// settleLeave looks whether nothing can come any more. An event that does not come for a lease after its emitter has confirmed is
// lost. f.mu is held.
func (f *Fleet) settleLeave(now time.Time) {
	l := f.leave
	if l == nil {
		return
	}
	for event, said := range l.events {
		if now.Sub(said) > f.opts.Lease {
			delete(l.events, event)
			l.missed++
			f.count.unconfirmed.Add(1)
		}
	}
	if len(l.waits)+len(l.events) > 0 {
		return
	}
	select {
	case <-l.done:
	default:
		close(l.done)
	}
}

// hasten makes the end of the fleet wait for nothing: who ends it has no time any more.
func (f *Fleet) hasten() { f.hastened.Store(true) }

// letsOut waits until the events that wait for the others to be known are sent: for a lease at most. False if ctx ends first.
func (f *Fleet) letsOut(ctx context.Context) bool {
	f.mu.Lock()
	waits := len(f.early) > 0 && f.isReady()
	f.mu.Unlock()
	if !waits {
		return true
	}
	select {
	case <-f.acquainted:
	case <-f.closing:
	case <-ctx.Done():
		return false
	}
	return true
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
	if f.isReady() && !f.isSettled() {
		f.letOut()
	}
	f.sayGoodbye()
	f.err = why
	f.look()
	f.stopQueues()
	close(f.closing)
	clear(f.calls)
	clear(f.serving)
	f.stopTimers()
	f.tellNews()
	return f.link, true
}

// stopTimers stops what would do something later. f.mu is held.
func (f *Fleet) stopTimers() {
	timers := []*time.Timer{f.welcoming, f.alone}
	if f.leave != nil {
		timers = append(timers, f.leave.timer)
	}
	for _, t := range timers {
		if t != nil {
			t.Stop()
		}
	}
}

// sayGoodbye tells the others that this process is gone. Those to which it has something to say hear it behind that, and all hear it
// who do not know that it is about to leave. f.mu is held.
func (f *Fleet) sayGoodbye() {
	none := f.draining && len(f.serving) == 0
	for _, m := range f.members {
		if !m.foreign && (m.busy() || m.draining || m.box != nil && f.leave == nil) {
			f.post(m, &letter{kind: kindBye, drained: none})
		}
	}
	if f.isReady() && (f.leave == nil || len(f.leave.waits) > 0) {
		f.mail(f.discovery, outItem{letter: &letter{kind: kindBye, drained: none}})
	}
}

// shutBoxes lets the outboxes publish what is in them.
func (f *Fleet) shutBoxes() error {
	f.mu.Lock()
	boxes := []*outbox{f.discovery, f.events, f.letters}
	for m := range f.boxes {
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
	wait := f.opts.CloseTimeout
	if f.hastened.Load() {
		wait = min(wait, hastyClose)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-returned:
		return true
	case <-timer.C:
		return false
	}
}

// hastyClose is what CloseTimeout is where the ctx of Leave or Shutdown has ended.
const hastyClose = 100 * time.Millisecond

// errTwin is why a fleet ends that is not the last to have begun under its ID.
var errTwin = errors.New("another process has begun under the same ID")
