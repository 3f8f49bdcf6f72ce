package commands

import (
	"container/heap"
	"time"
)

// deadlines ends what waits too long: one heap and one timer for many requests,
// so that a call costs no timer of its own and an idle registry still times
// out. All of it is guarded by its owner's mu.
type deadlines struct {
	heap  exchangeHeap
	fire  func()      // the timer's function
	timer *time.Timer // fires at armed
	armed time.Time   // zero when the timer is not running
}

// add makes ex expire at its deadline, unless it is removed before.
func (d *deadlines) add(ex *exchange) {
	heap.Push(&d.heap, ex)
	if ex.index == 1 && (d.armed.IsZero() || ex.deadline.Before(d.armed)) {
		d.arm(ex.deadline)
	}
}

// remove forgets ex. The timer is left alone: it finds nothing due, and arms
// itself for whatever is first then.
func (d *deadlines) remove(ex *exchange) {
	if ex.index > 0 {
		heap.Remove(&d.heap, ex.index-1)
	}
}

func (d *deadlines) arm(at time.Time) {
	d.armed = at
	if wait := time.Until(at); d.timer == nil {
		d.timer = time.AfterFunc(wait, d.fire)
	} else {
		d.timer.Reset(wait)
	}
}

// due removes and returns what has expired, and arms the timer for the rest.
func (d *deadlines) due() (expired []*exchange) {
	d.armed = time.Time{}
	for now := time.Now(); len(d.heap) > 0 && !d.heap[0].deadline.After(now); {
		expired = append(expired, heap.Pop(&d.heap).(*exchange))
	}
	if len(d.heap) > 0 {
		d.arm(d.heap[0].deadline)
	}
	return expired
}

// stop ends the timer.
func (d *deadlines) stop() {
	d.heap = nil
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
