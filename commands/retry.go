package commands

import (
	"container/heap"
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
	maxRetry         = time.Second
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
	heap.Push(&up.retries, c)
	up.arm(up.retries[0].at)
}

// again tries n of those that wait to be tried again. r.mu is held.
func (up *uplink) again(n int) {
	for ; n > 0 && len(up.retries) > 0 && up.retries[0].hopeful(); n-- {
		c := up.retries[0]
		up.retries.remove(c)
		up.consider(c)
	}
}

// hopeful reports whether the success of others says something about c.
func (c *claim) hopeful() bool { return !c.conflicting() }

// arm makes the timer fire at a time, unless it fires earlier anyway. r.mu is held.
func (up *uplink) arm(at time.Time) {
	if up.closed || !up.armed.IsZero() && !at.Before(up.armed) {
		return
	}
	up.armed = at
	if wait := time.Until(at); up.timer == nil {
		up.timer = time.AfterFunc(wait, up.tick)
	} else {
		up.timer.Reset(wait)
	}
}

// tick is the timer's function.
func (up *uplink) tick() {
	r := up.r
	r.mu.Lock()
	if up.closed {
		r.mu.Unlock()
		return
	}
	up.armed = time.Time{}
	now := time.Now()
	for range retryBatch {
		if len(up.retries) == 0 || up.retries[0].at.After(now) {
			break
		}
		c := up.retries[0]
		up.retries.remove(c)
		up.consider(c)
	}
	if len(up.retries) > 0 {
		next := up.retries[0].at
		if next.Before(now) {
			next = now.Add(retryPause)
		}
		up.arm(next)
	}
	r.mu.Unlock()
	r.converge()
}

// retries orders claims by the time when they are tried again.
type retries []*claim

func (h retries) Len() int           { return len(h) }
func (h retries) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h retries) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

// Push and Pop are for package heap.
func (h *retries) Push(x any) {
	c := x.(*claim)
	*h = append(*h, c)
	c.index = len(*h)
}

func (h *retries) Pop() any {
	old := *h
	c := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	c.index = 0
	return c
}

func (h *retries) remove(c *claim) {
	if c.index > 0 {
		heap.Remove(h, c.index-1)
	}
}
