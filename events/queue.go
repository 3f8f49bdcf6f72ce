package events

import (
	"context"
	"slices"
	"time"
)

// item is an event, or the mark of a Flush.
type item struct {
	event   *event
	barrier chan struct{}
}

// keptItems bounds what a listener keeps for a queue that is empty.
const keptItems = 1024

// push queues an item, or drops one by the policy. It never blocks.
func (l *Listener) push(it item) {
	var lost item
	l.mu.Lock()
	switch {
	case l.closed:
		lost = it
	case it.event != nil && l.events >= l.opts.QueueSize && l.opts.Overflow == DropNewest:
		lost = it
	case it.event != nil && l.events >= l.opts.QueueSize:
		lost = l.dropOldest()
	}
	if lost != it {
		if it.event != nil {
			l.events++
			l.hub.bus.Begin()
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
	wake := l.asleep
	l.asleep = false
	l.mu.Unlock()
	if lost != (item{}) {
		if lost == it && it.event != nil {
			l.hub.bus.Begin() // discard counts it out
		}
		l.discard(lost)
	}
	if wake {
		l.signal()
	}
}

// forgetBarrier takes the mark of a Flush that was given up out of the queue.
func (l *Listener) forgetBarrier(barrier chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = slices.DeleteFunc(l.queue, func(it item) bool { return it.barrier == barrier })
}

// dropOldest takes the first event out of the queue. l.mu is held.
func (l *Listener) dropOldest() item {
	for i, it := range l.queue {
		if it.event != nil {
			if i == 0 {
				l.queue[0] = item{}
				l.queue = l.queue[1:]
			} else {
				l.queue = slices.Delete(l.queue, i, i+1)
			}
			l.events--
			return it
		}
	}
	return item{}
}

// discard accounts for an item that the listener will not see.
func (l *Listener) discard(it item) {
	if it.barrier != nil {
		close(it.barrier)
		return
	}
	l.hub.bus.End()
	l.hub.dropped.Add(1)
	n := l.dropped.Add(1)
	now, last := time.Now().UnixNano(), l.logged.Load()
	if now-last > int64(10*time.Second) && l.logged.CompareAndSwap(last, now) {
		// Whoever pushes holds the bus's sequence, and a logger is user code.
		go l.hub.log.Warn("listener drops events", "pattern", l.pattern.String(), "event", it.event.name, "dropped", n)
	}
}

func (l *Listener) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// release wakes those who wait for room. l.mu is held.
func (l *Listener) release() {
	if l.room != nil {
		close(l.room)
		l.room = nil
	}
}

// awaitRoom returns nil if an emitter need not wait, which is the listener self or none; else a channel that is
// closed when it is worth another look.
func (l *Listener) awaitRoom(self *Listener) <-chan struct{} {
	if self == l {
		return nil // it cannot wait for itself
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.events < l.opts.QueueSize {
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
	return !l.closed && l.events < l.opts.QueueSize
}

// waitRoom waits until there is room for an event.
func (l *Listener) waitRoom(ctx context.Context, self *Listener) error {
	for {
		room := l.awaitRoom(self)
		if room == nil {
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
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
			if it.event != nil {
				l.events--
				if l.events <= l.opts.QueueSize/2 { // not for each single place
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
