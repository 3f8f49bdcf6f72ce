package events

import (
	"slices"
	"time"
)

// item is an event, or the mark of a Flush.
type item struct {
	event   *event
	barrier *barrier
}

// keptItems bounds what a listener keeps for a queue that is empty.
const keptItems = 1024

// push queues an item, or drops events by the policy. It never blocks.
func (l *Listener) push(it item) {
	if it.event == nil {
		l.pushBarrier(it)
		return
	}
	var few [4]*event
	lost := few[:0]
	l.mu.Lock()
	taken := !l.closed && (l.opts.Overflow != DropNewest || l.hasSpace())
	if taken {
		for !l.hasSpace() {
			lost = append(lost, l.dropOldest())
		}
		l.add(it)
	}
	wake := l.rouse()
	l.mu.Unlock()
	for _, ev := range lost {
		l.discard(ev)
	}
	if !taken {
		l.hub.bus.Begin() // discard counts it out
		l.discard(it.event)
	}
	if wake {
		l.signal()
	}
}

// tryPush queues an event, unless something would be dropped for it.
func (l *Listener) tryPush(it item) bool {
	l.mu.Lock()
	taken := !l.closed && l.hasSpace()
	if taken {
		l.add(it)
	}
	wake := l.rouse()
	l.mu.Unlock()
	if wake {
		l.signal()
	}
	return taken
}

// pushBarrier queues the mark of a Flush. A listener that is closed has passed it.
func (l *Listener) pushBarrier(it item) {
	l.mu.Lock()
	if l.closed {
		it.barrier.closed.Store(true)
		it.barrier.lost.Add(int64(l.abandoned))
		l.mu.Unlock()
		it.barrier.pass()
		return
	}
	l.add(it)
	wake := l.rouse()
	l.mu.Unlock()
	if wake {
		l.signal()
	}
}

// add appends an item. l.mu is held.
func (l *Listener) add(it item) {
	if it.event != nil {
		l.events++
		l.bytes += it.event.size
		l.hub.bus.Begin()
	} else {
		l.barriers++
	}
	switch len(l.queue) {
	case 0:
		l.queue = l.array[:0]
	case cap(l.queue):
		l.array = nil // it is left behind
	}
	if l.queue = append(l.queue, it); len(l.queue) == 1 {
		l.array = l.queue
	}
}

// rouse reports whether the goroutine has to be woken. l.mu is held.
func (l *Listener) rouse() bool {
	wake := l.asleep && (len(l.queue) > 0 || l.closed)
	l.asleep = l.asleep && !wake
	return wake
}

// forgetBarrier takes the mark of a Flush that was given up out of the queue.
func (l *Listener) forgetBarrier(b *barrier) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.queue)
	l.queue = slices.DeleteFunc(l.queue, func(it item) bool { return it.barrier == b })
	l.barriers -= n - len(l.queue)
}

// dropOldest takes the first event out of the queue, and tells the Flush calls that wait for it; nil if there is none.
// l.mu is held.
func (l *Listener) dropOldest() *event {
	i := 0 // marks of a Flush that nothing is queued before
	for ; i < len(l.queue) && l.queue[i].event == nil; i++ {
	}
	if i == len(l.queue) {
		return nil
	}
	ev := l.queue[i].event
	l.events--
	l.bytes -= ev.size
	if i == 0 {
		l.queue[0] = item{}
		l.queue = l.queue[1:]
	} else {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
	for j := i; j < len(l.queue) && l.barriers > i; j++ {
		if b := l.queue[j].barrier; b != nil {
			b.lost.Add(1)
		}
	}
	return ev
}

// discard accounts for an event that the listener will not see.
func (l *Listener) discard(ev *event) {
	l.hub.bus.End()
	l.hub.dropped.Add(1)
	n := l.dropped.Add(1)
	now, last := time.Now().UnixNano(), l.logged.Load()
	if now-last > int64(10*time.Second) && l.logged.CompareAndSwap(last, now) {
		// The goroutine that pushes holds the bus's sequence, and a logger is user code.
		go l.hub.log.Warn("listener drops events", "pattern", l.pattern.String(), "event", ev.name, "dropped", n)
	}
}

func (l *Listener) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// release wakes the emitters that wait for room. l.mu is held.
func (l *Listener) release() {
	if l.room != nil {
		close(l.room)
		l.room = nil
	}
}

// awaitRoom returns nil if an emitter need not wait, which is the listener self or none; else a channel that is
// closed when it is worth another look.
func (l *Listener) awaitRoom(self *Listener) <-chan struct{} {
	room := l.full()
	switch {
	case self == nil:
	case room == nil:
		self.waitsFor.CompareAndSwap(l, nil)
	case l.waitWouldNotEnd(self):
		return nil
	}
	return room
}

// waitWouldNotEnd reports whether a run of self, if it waited for room here, would wait for itself: at once, or over
// others that wait already. It notes that self waits, before it looks, so that one of two that do it at once sees it.
func (l *Listener) waitWouldNotEnd(self *Listener) bool {
	self.waitsFor.Store(l)
	for other, steps := l, 0; other != nil && steps < maxCircle; other, steps = other.waitsFor.Load(), steps+1 {
		if other != self {
			continue
		}
		self.waitsFor.Store(nil)
		if n := l.hub.circles.Add(1); steps > 0 && n&(n-1) == 0 {
			// The sequence may be held, and a logger is user code.
			go l.hub.log.Warn("listeners with the policy Block emit to each other, dropping the oldest event",
				"pattern", l.pattern.String(), "from", self.pattern.String(), "listeners", steps+1)
		}
		return true
	}
	return false
}

// maxCircle bounds the listeners of a circle that is looked for.
const maxCircle = 1000

// full returns nil if there is room, or none is needed; else a channel that is closed when it is worth another look.
func (l *Listener) full() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.hasSpace() {
		return nil
	}
	if l.room == nil {
		l.room = make(chan struct{})
	}
	return l.room
}

// hasRoom reports whether nothing would be dropped for one event more.
func (l *Listener) hasRoom() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.closed && l.hasSpace()
}

// hasSpace reports whether the bounds are not reached. l.mu is held.
func (l *Listener) hasSpace() bool {
	return l.events < l.opts.QueueSize && l.bytes < l.opts.QueueBytes
}

// next waits for the first item. False once the listener is closed.
func (l *Listener) next() (item, bool) {
	for {
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			return item{}, false
		}
		if len(l.queue) > 0 {
			it := l.queue[0]
			l.queue[0] = item{}
			if l.queue = l.queue[1:]; len(l.queue) == 0 && cap(l.array) > keptItems {
				l.queue, l.array = nil, nil // let it go, and start afresh
			}
			if it.event == nil {
				l.barriers--
			} else {
				l.events--
				l.bytes -= it.event.size
				if l.events <= l.opts.QueueSize/2 && l.bytes <= l.opts.QueueBytes/2 { // not for each single place
					l.release()
				}
			}
			l.mu.Unlock()
			return it, true
		}
		l.asleep = true
		l.mu.Unlock()
		<-l.wake
	}
}
