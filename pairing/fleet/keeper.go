package fleet

import (
	"math/rand/v2"
	"time"
)

// keep is the fleet's keeper: it proves that the topics work, and from then on looks after the others, and makes sure that they
// can hear this process.
func (f *Fleet) keep() {
	if !f.probe() {
		return
	}
	tick := f.opts.Lease / ticks
	timer := time.NewTicker(tick)
	defer timer.Stop()
	last := time.Now()
	for n := 1; ; n++ {
		select {
		case <-timer.C:
		case <-f.closing:
			return
		}
		now := time.Now()
		var late time.Duration
		if gap := now.Sub(last); gap > 3*tick {
			late = gap - tick
		}
		last = now
		f.tick(now, late, n%(ticks/3) == 0)
	}
}

// ticks is how often in a lease the keeper looks.
const ticks = 12

// Probes are repeated until they have come back, ever more rarely.
const (
	firstProbe = 100 * time.Millisecond
	maxProbe   = 2 * time.Second
)

// probe sends each topic a message of its own and waits until all have come back, at most until the fleet ends.
func (f *Fleet) probe() bool {
	for wait := firstProbe; ; wait = min(2*wait, maxProbe) {
		f.mu.Lock()
		if !f.probed["inbox"] {
			f.probeSelf()
		}
		for role, box := range map[string]*outbox{"discovery": f.discovery, "events": f.events} {
			if !f.probed[role] {
				f.mail(box, outItem{letter: &letter{kind: kindProbe, thread: role}})
			}
		}
		f.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-f.ready:
			timer.Stop()
			return true
		case <-f.closing:
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}

// probeSelf sends a message to the process's own inbox. f.mu is held.
func (f *Fleet) probeSelf() {
	f.mail(f.letters, outItem{letter: &letter{kind: kindProbe, thread: "inbox"}, topic: f.names.inbox})
}

// cameBack notes what has come back of what this process has sent itself. f.mu is held.
func (f *Fleet) cameBack(l *letter, fx *effects) {
	switch l.kind {
	case kindProbe:
		f.probed[l.thread] = true
		if f.isReady() {
			f.connected()
			return
		}
		if len(f.probed) == 3 && f.err == nil {
			f.start()
		}
	case kindBeat, kindHello, kindChange:
		if l.version > f.version || l.version == f.version && l.hash != f.mine.hash() {
			f.correct() // this process has not said that
		}
	case kindBye:
		if f.err == nil { // nor that; they believe it for a while
			f.helloDue = time.Now().Add(2*f.opts.Lease + f.opts.Lease/ticks)
		}
	case kindFlush:
		f.flushedBy(l.thread, f.flushes[l.thread], f.self, fx)
	}
}

// start announces this process: its topics work. f.mu is held.
func (f *Fleet) start() {
	f.heard, f.steady, f.began, f.tickAt = time.Now(), time.Now(), time.Now(), time.Now()
	close(f.ready)
	f.look()
	f.helloPause = firstHello
	f.hello()
	f.alone = time.AfterFunc(min(f.opts.Lease/6, aloneWait), func() { f.update(f.settled) })
}

const (
	// firstHello is when hello is repeated first if nobody answers it. The pause doubles, up to a lease.
	firstHello = 250 * time.Millisecond
	// aloneWait is after what time a process that hears of no other one, but for some that have only just begun, takes it that there
	// are none.
	aloneWait = 500 * time.Millisecond
)

// settled lets out what has waited until the others, and their groups, were known; at most for a lease. f.mu is held.
func (f *Fleet) settled(fx *effects) {
	if !f.isReady() || f.isSettled() || f.err != nil {
		return
	}
	since := time.Since(f.began)
	switch {
	case f.guided && len(f.wanted) == 0:
	case (f.joined || len(f.members) == 0) && len(f.wanted) == 0 && since >= min(f.opts.Lease/6, aloneWait):
	case since >= f.opts.Lease:
	default:
		return
	}
	f.letOut()
}

// letOut sends what has waited for that. f.mu is held.
func (f *Fleet) letOut() {
	close(f.acquainted)
	for _, e := range f.early {
		f.mail(f.events, outItem{letter: f.divide(&e)})
	}
	f.early, f.earlyBytes = nil, 0
	for id, fl := range f.flushes {
		f.marker(id, fl)
	}
}

func (f *Fleet) isSettled() bool {
	select {
	case <-f.acquainted:
		return true
	default:
		return false
	}
}

// connected notes that what this process sends comes through, and what is sent to it. f.mu is held.
func (f *Fleet) connected() {
	now := time.Now()
	if now.Sub(f.heard) > f.opts.Lease*2/3 {
		f.back = now
		f.helloDue = now
		if len(f.lost)+len(f.members) > crowd { // all come back at once
			f.helloDue = now.Add(time.Duration(rand.Int64N(int64(f.opts.Lease / 3))))
		} else {
			f.hello()
			f.helloDue = time.Time{}
		}
	}
	if f.inDoubt() {
		f.steady = now
	}
	f.heard = now
}

// inDoubt reports whether this process may be the one that is cut off: nothing of its own comes back, or does so only
// just now, so that the others may not have had the time to be heard of again. f.mu is held.
func (f *Fleet) inDoubt() bool {
	return time.Since(f.heard) > f.opts.Lease*2/3 || time.Since(f.back) < f.opts.Lease*2/3
}

// paused shifts what this process has seen last, since it did not run itself for that long. f.mu is held.
func (f *Fleet) paused(by time.Duration) {
	f.heard = f.heard.Add(by)
	for _, m := range f.members {
		m.heard = m.heard.Add(by)
		w := &m.watch
		for _, at := range []*time.Time{&w.since, &w.pinged, &w.pong, &w.suspected, &w.probing} {
			if !at.IsZero() {
				*at = at.Add(by)
			}
		}
	}
}

// wakes notes that this process did not run for so long that others may have taken it to be gone: what was sent to it
// meanwhile may have been failed, or sent elsewhere. f.mu is held.
func (f *Fleet) wakes(now time.Time) {
	if now.Sub(f.tickAt) > f.opts.Lease/2 {
		f.woke, f.wokeAt = f.stamp(), now
		f.helloDue = now
	}
	f.tickAt = now
}

// missed reports whether a request was sent while this process did not run, as far as can be told. f.mu is held.
func (f *Fleet) missed(m *member, known bool, sent int64) bool {
	now := time.Now()
	if now.Sub(f.tickAt) > f.opts.Lease/2 {
		f.wakes(now)
	}
	switch {
	case f.woke == 0 || sent == 0:
		return false
	case !known: // the first that was ever heard of it
		return now.Sub(f.wokeAt) < f.opts.Lease/ticks
	}
	return sent-m.clock.offset.Microseconds() <= f.woke
}

// tick looks after the others; every third of a lease it repeats what may be lost. A process that did not run itself for a
// while, late, does not hold it against the others.
func (f *Fleet) tick(now time.Time, late time.Duration, often bool) {
	f.update(func(fx *effects) {
		f.wakes(now)
		if late > 0 {
			f.paused(late)
		}
		f.look()
		f.lookAround(now, fx)
		clear(f.strangers)
		f.forgetGone(now)
		f.corrected, f.prompted = false, 0
		if f.err != nil {
			return
		}
		if now.Sub(f.heard) >= f.opts.Lease/4 {
			f.probeSelf()
		}
		if len(f.welcomes) > 0 && f.welcoming == nil {
			f.beat()
		}
		f.keepJoined(now)
		f.settleFetches(now)
		f.settled(fx)
		f.settleLeave(now)
		if !often {
			return
		}
		f.views = 0
		f.restBoxes(now)
		f.sweep(now)
		f.repeatFlushes(now)
		f.repeatDrain(now)
	})
}

// forgetGone forgets sessions that have gone long ago. f.mu is held.
func (f *Fleet) forgetGone(now time.Time) {
	for session, gone := range f.left {
		if now.Sub(gone.at) > 2*f.opts.Lease {
			delete(f.left, session)
		}
	}
	for session, at := range f.lost {
		if now.Sub(at) > 100*f.opts.Lease {
			delete(f.lost, session)
		}
	}
}

// keepJoined says hello until this process is known, and asks another process which ones there are where one does not answer. Once in
// a lease one of all processes says hello, so that those that have lost each other find each other again. f.mu is held.
func (f *Fleet) keepJoined(now time.Time) {
	if f.guide.session != "" && now.Sub(f.guide.sent) > f.opts.Lease/3 {
		f.guide = guide{}
	}
	if !f.joined && f.guide.session == "" {
		for _, m := range f.members { // any
			if !m.foreign && !m.draining {
				f.follow(m, true)
				break
			}
		}
	}
	due := !f.helloDue.IsZero() && !now.Before(f.helloDue)
	pause := f.helloPause
	if f.joined {
		pause = f.opts.Lease
		due = due || rand.IntN(ticks*(len(f.members)+1)) == 0
	} else {
		due = true
	}
	if !due || now.Sub(f.greeted) < pause && f.helloDue.IsZero() || f.draining {
		return
	}
	f.helloDue = time.Time{}
	f.helloPause = min(2*f.helloPause, f.opts.Lease)
	f.hello()
}
