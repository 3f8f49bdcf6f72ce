package commands

import (
	"container/heap"
	"sync"
	"time"
)

// deadlines ends what waits too long: one heap and one timer for all pending
// calls, routes and registrations of a registry, so that a call costs no
// timer of its own and an idle registry still times out.
type deadlines struct {
	expire func(expiry) // called without the lock, from the timer

	mu    sync.Mutex
	heap  exchangeHeap // guarded by mu
	timer *time.Timer  // guarded by mu: fires at armed
	armed time.Time    // guarded by mu: zero when the timer is not running
}

// expiry names an exchange whose deadline has passed. Its owner may settle and
// reuse the exchange before it is looked at, so it says by itself which one it was.
type expiry struct {
	ex *exchange
	to *peer
	id string
}

// add makes ex expire at its deadline, unless it is removed before.
func (d *deadlines) add(ex *exchange) {
	d.mu.Lock()
	defer d.mu.Unlock()
	heap.Push(&d.heap, ex)
	if ex.index == 1 && (d.armed.IsZero() || ex.deadline.Before(d.armed)) {
		d.arm(ex.deadline)
	}
}

// remove forgets ex. The timer is left alone: it finds nothing due, and arms
// itself for whatever is first then.
func (d *deadlines) remove(ex *exchange) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ex.index > 0 {
		heap.Remove(&d.heap, ex.index-1)
	}
}

// arm sets the timer. d.mu is held.
func (d *deadlines) arm(at time.Time) {
	d.armed = at
	if wait := time.Until(at); d.timer == nil {
		d.timer = time.AfterFunc(wait, d.fire)
	} else {
		d.timer.Reset(wait)
	}
}

func (d *deadlines) fire() {
	now := time.Now()
	var due []expiry
	d.mu.Lock()
	d.armed = time.Time{}
	for len(d.heap) > 0 && !d.heap[0].deadline.After(now) {
		ex := heap.Pop(&d.heap).(*exchange) // not reused yet: its owner has to pass remove first
		due = append(due, expiry{ex, ex.to, ex.id})
	}
	if len(d.heap) > 0 {
		d.arm(d.heap[0].deadline)
	}
	d.mu.Unlock()
	for _, e := range due {
		d.expire(e)
	}
}

// stop ends the timer once nothing is pending any more.
func (d *deadlines) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
}

// exchangeHeap orders by deadline. index is position+1, so that 0 is "not in it".
type exchangeHeap []*exchange

func (h exchangeHeap) Len() int           { return len(h) }
func (h exchangeHeap) Less(i, j int) bool { return h[i].deadline.Before(h[j].deadline) }
func (h exchangeHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

func (h *exchangeHeap) Push(x any) {
	ex := x.(*exchange)
	*h = append(*h, ex)
	ex.index = len(*h)
}

func (h *exchangeHeap) Pop() any {
	old := *h
	ex := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	ex.index = 0
	return ex
}
