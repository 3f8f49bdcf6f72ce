package commands

import (
	"slices"
	"time"
)

// What a router has not taken is tried again, after firstRetry and then twice
// the pause each time, up to maxRetry, or maxConflictRetry where it has said
// that another registry has the ID. At most retryBatch are begun per
// retryPause, and two for each success: a router that refuses a hundred
// thousand commands is not asked all the time, and one that takes them again has
// them soon.
const (
	firstRetry       = 50 * time.Millisecond
	maxRetry         = 500 * time.Millisecond
	maxConflictRetry = 4 * time.Second
	retryBatch       = 64
	retryPause       = 50 * time.Millisecond
)

// retry puts c back for a while. r.mu is held.
func (up *uplink) retry(c *claim, err *Error) {
	limit := maxConflictRetry
	if err.Code == Timeout || err.Code == ChannelDisconnected {
		limit = maxRetry
	}
	pause := min(limit, firstRetry<<min(c.tries, 10))
	c.tries++
	up.retries.remove(c)
	c.at = time.Now().Add(pause)
	up.retries.add(c)
	up.arm(up.retries.next())
}

// retryNow tries n of those that wait to be tried again. r.mu is held.
func (up *uplink) retryNow(n int) {
	for ; n > 0 && len(up.retries) > 0 && up.retries[0].hopeful(); n-- {
		c := up.retries[0]
		up.retries.remove(c)
		up.consider(c)
	}
}

// hopeful reports whether the success of others says something about c.
func (c *claim) hopeful() bool { return !c.conflicting() }

// A router that answers no registration for firstStall, then for twice as long
// up to maxStall, is sent one of them again, under its ID: it may have lost them, though the
// link lives. If it answers that one, it is sent the others that it was sent before, too.
// One that has waited for overlooked is sent again also if the router answers others.
// Those that a Register call waits for are left alone: its caller is told of the timeout. Those of children of our kind
// are sent again when they register again.
const (
	firstStall = 250 * time.Millisecond
	maxStall   = 500 * time.Millisecond
	overlooked = 4 * maxStall
)

func (up *uplink) stall() time.Duration { return min(maxStall, firstStall<<min(up.stalls, 4)) }

// fly notes that a is about to be sent. r.mu is held.
func (up *uplink) fly(a *attempt) {
	if len(up.flying) == 0 {
		up.heard, up.stalls = a.sent, 0
		up.arm(up.heard.Add(up.stall()))
	}
	up.flying[a] = struct{}{}
}

// repeat sends a once more. r.mu is held.
func (up *uplink) repeat(a *attempt) {
	if !slices.Contains(up.again, a) {
		up.again = append(up.again, a)
	}
}

// probe sends one registration again if the router has been silent for too long, or has answered others only.
// r.mu is held.
func (up *uplink) probe(now time.Time) {
	if len(up.flying) == 0 {
		return
	}
	if up.to.link.Absent() {
		up.heard = now // the router has not been silent
	}
	var oldest *attempt
	for a := range up.flying {
		if !up.minded(a) && (oldest == nil || a.sent.Before(oldest.sent)) {
			oldest = a
		}
	}
	silent := now.Sub(up.heard) >= up.stall()
	if oldest != nil && !up.to.link.Absent() && (silent || now.Sub(oldest.sent) >= overlooked) {
		oldest.asked = true
		up.repeat(oldest)
	}
	if silent {
		up.heard = now
		up.stalls++
	}
	up.arm(up.heard.Add(up.stall()))
}

// minded reports whether something else sees to it that the registration is sent again: a Register call that is told of
// the timeout, or a child that registers again by itself. r.mu is held.
func (up *uplink) minded(a *attempt) bool {
	res := up.r.reserved[a.command]
	return res != nil && (res.done != nil || res.child.tells())
}

// answered notes that the router has answered. r.mu is held.
func (up *uplink) answered(a *attempt) {
	up.heard, up.stalls = time.Now(), 0
	if !a.asked {
		return
	}
	for other := range up.flying {
		if other.sent.Before(a.sent) && !up.minded(other) {
			up.repeat(other)
		}
	}
}

// arm makes tick run at a time, unless it runs earlier anyway. r.mu is held.
func (up *uplink) arm(at time.Time) {
	if !up.closed {
		up.alarm.set(at, up.tick)
	}
}

// tick is the alarm's function.
func (up *uplink) tick() {
	r := up.r
	r.mu.Lock()
	if up.closed {
		r.mu.Unlock()
		return
	}
	up.alarm.fired()
	now := time.Now()
	for range retryBatch {
		c, ok := up.retries.takeDue(now)
		if !ok {
			break
		}
		up.consider(c)
	}
	up.probe(now)
	if len(up.retries) > 0 {
		next := up.retries.next()
		if next.Before(now) {
			next = now.Add(retryPause)
		}
		up.arm(next)
	}
	r.mu.Unlock()
	r.converge()
}
