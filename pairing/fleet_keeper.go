package pairing

import "time"

// keep is the fleet's keeper: it proves that the topics work, and from then on says that the process is there, and
// notices who is not.
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
	inbox := f.newInbox()
	defer inbox.close(func(*outItem) bool { return false })
	for wait := firstProbe; ; wait = min(2*wait, maxProbe) {
		f.mu.Lock()
		for role, box := range map[string]*outbox{"inbox": inbox, "discovery": f.discovery, "events": f.events} {
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

// newInbox is the outbox to this process's own inbox.
func (f *Fleet) newInbox() *outbox {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newOutbox(f.names.inbox, f.bundles)
}

// cameBack notes what has come back of what this process has sent itself. f.mu is held.
func (f *Fleet) cameBack(l *letter, fx *effects) {
	switch l.kind {
	case kindProbe:
		f.probed[l.thread] = true
		if len(f.probed) == 3 && !f.isReady() && f.err == nil {
			f.heard, f.steady = time.Now(), time.Now()
			close(f.ready)
			f.look()
			for _, e := range f.early {
				f.mail(f.events, outItem{letter: f.divide(&e)})
			}
			f.early, f.earlyBytes = nil, 0
			f.mail(f.discovery, outItem{letter: &letter{kind: kindHello, version: f.version, gaps: f.gaps, lease: f.ownLease()}})
		}
	case kindBeat, kindHello:
		if time.Since(f.heard) > f.opts.Lease*2/3 {
			f.back = time.Now()
		}
		if f.inDoubt() {
			f.steady = time.Now()
		}
		f.heard = time.Now()
	case kindFlush:
		f.flushedBy(l.thread, f.flushes[l.thread], f.self, fx)
	}
}

// inDoubt reports whether this process may be the one that is cut off: its own beats do not come back, or do so only
// just now, so that the others may not have had the time to be heard of again. f.mu is held.
func (f *Fleet) inDoubt() bool {
	return time.Since(f.heard) > f.opts.Lease*2/3 || time.Since(f.back) < f.opts.Lease*2/3
}

// lapse drops who was not heard of for its lease. Those who go at once first serve nothing any more: no call of one is sent
// to the other. f.mu is held.
func (f *Fleet) lapse(now time.Time, late time.Duration, fx *effects) {
	var gone []*member
	for _, m := range f.members {
		if m.heard = m.heard.Add(late); now.Sub(m.heard) >= m.lease {
			gone = append(gone, m)
			f.unserveAll(m)
		}
	}
	for _, m := range gone {
		f.drop(m, lapsed, fx)
	}
}

// tick drops who was not heard of for a lease; every third of it the process says that it is there. A process that
// did not run itself for a while, late, does not hold it against the others.
func (f *Fleet) tick(now time.Time, late time.Duration, beat bool) {
	f.update(func(fx *effects) {
		f.heard = f.heard.Add(late)
		f.look()
		f.lapse(now, late, fx)
		clear(f.strangers)
		for session, at := range f.left {
			if now.Sub(at) > 2*f.opts.Lease {
				delete(f.left, session)
			}
		}
		if f.err != nil {
			return
		}
		if f.prompted = 0; beat || len(f.welcomes) > 0 {
			f.beat()
		}
		for _, m := range f.members {
			f.settleDue(m, now)
		}
		if !beat {
			return
		}
		for _, m := range f.members {
			if now.Sub(m.clock.measured) > clockAge*f.opts.Lease {
				f.post(m, &letter{kind: kindPing})
			}
		}
		f.sweep(now)
		f.repeatFlushes(now)
	})
}
