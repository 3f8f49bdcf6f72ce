package bus

import (
	"fmt"
	"time"
)

// stallWatch looks from time to time whether anything is published while something waits.
// It has a timer only while that is so. The outbox guards it by its mu.
type stallWatch struct {
	timeout time.Duration
	check   func() // the timer's function
	timer   *time.Timer
	armed   bool
	stopped bool
	taken   uint64 // messages published so far, beside those that have passed the gate; see outbox.taken
	seen    uint64 // how many had been published when it was looked at last
	moved   time.Time
}

// looks is how often the watch looks within its timeout.
const looks = 4

// arm starts the watch unless it runs. taken is how many have been published.
func (s *stallWatch) arm(taken uint64) {
	if s.armed || s.stopped || s.check == nil {
		return
	}
	s.armed, s.seen, s.moved = true, taken, time.Now()
	if s.timer == nil {
		s.timer = time.AfterFunc(s.timeout/looks, s.check)
	} else {
		s.timer.Reset(s.timeout / looks)
	}
}

func (s *stallWatch) stop() {
	s.stopped = true
	if s.timer != nil {
		s.timer.Stop()
	}
}

// stalled reports whether something has waited and nothing was published for the timeout. Else it
// looks again later, if anything waits.
func (o *outbox) stalled() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	s, taken, now := &o.stall, o.taken(), time.Now()
	if s.stopped {
		return false
	}
	switch {
	case taken != s.seen:
		s.seen, s.moved = taken, now
	case o.total() == 0:
		s.armed = false
		return false
	case now.Sub(s.moved) >= s.timeout:
		s.armed = false
		return true
	}
	s.timer.Reset(s.timeout / looks)
	return false
}

// stalled closes the link if its peer takes nothing. A peer that has not come yet may take its time; and a peer
// that stands for many, a fleet, knows by itself when it is cut off.
func (l *Link) stalled() {
	if !l.out.stalled() {
		return
	}
	if l.stats.received.Load() == 0 || l.Understands(Shared) {
		l.out.watchOn()
		return
	}
	l.bus.stalled.Add(1)
	timeout := l.bus.opts.StallTimeout
	l.log.Error("closing link, the peer takes nothing", "timeout", timeout, "queued", l.out.len())
	l.peerClosed(fmt.Errorf("%w: it took nothing for %s while messages waited", ErrPeerClosed, timeout))
}

// watchOn begins a new timeout.
func (o *outbox) watchOn() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stall.arm(o.taken())
}
