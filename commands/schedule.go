package commands

import (
	"container/heap"
	"time"
)

// schedule orders items by their time, the earliest first. Its owner guards it.
type schedule[T interface{ place() *slot }] []T

// slot is the place of an item in a schedule. Items embed it.
type slot struct {
	at    time.Time // when the item is due
	index int       // its position+1; 0: in no schedule
}

func (s *slot) place() *slot { return s }

func (s *slot) scheduled() bool { return s.index > 0 }

func (h *schedule[T]) add(item T) { heap.Push(h, item) }

// remove takes an item out, if it is in.
func (h *schedule[T]) remove(item T) {
	if s := item.place(); s.scheduled() {
		heap.Remove(h, s.index-1)
	}
}

// next is when the first item is due. There must be one.
func (h schedule[T]) next() time.Time { return h[0].place().at }

// takeDue removes the first item, and returns it, if it is due.
func (h *schedule[T]) takeDue(now time.Time) (item T, ok bool) {
	if len(*h) == 0 || h.next().After(now) {
		return item, false
	}
	return heap.Pop(h).(T), true
}

func (h schedule[T]) Len() int           { return len(h) }
func (h schedule[T]) Less(i, j int) bool { return h[i].place().at.Before(h[j].place().at) }
func (h schedule[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place().index, h[j].place().index = i+1, j+1
}

// Push and Pop are for package heap.
func (h *schedule[T]) Push(x any) {
	item := x.(T)
	*h = append(*h, item)
	item.place().index = len(*h)
}

func (h *schedule[T]) Pop() any {
	old := *h
	item := old[len(old)-1]
	var none T
	old[len(old)-1] = none
	*h = old[:len(old)-1]
	item.place().index = 0
	return item
}

// alarm is a timer that runs a function at the earliest time it is set to. Its owner guards it.
type alarm struct {
	timer *time.Timer
	armed time.Time // when the timer fires; zero: it does not run
}

// set makes fire run at a time, unless it runs earlier anyway. All calls give the same function.
func (a *alarm) set(at time.Time, fire func()) {
	if !a.armed.IsZero() && !at.Before(a.armed) {
		return
	}
	a.armed = at
	if wait := time.Until(at); a.timer == nil {
		a.timer = time.AfterFunc(wait, fire)
	} else {
		a.timer.Reset(wait)
	}
}

// fired notes that the function runs.
func (a *alarm) fired() { a.armed = time.Time{} }

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}
