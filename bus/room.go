package bus

import "time"

// room wakes the emitters that wait for room in an outbox, and bounds how long they wait. The outbox guards it by its mu.
//
// Emitters are woken all at once, since each looks at all links again: when half of the queue is free, or when there is
// a place for each and roomPause has passed; not for each single place, else thousands would wake up for it.
type room struct {
	open    chan struct{} // closed when an emitter should try again; nil when no emitter waits
	since   time.Time     // when the first began to wait for open
	waiting int           // how often open was given out

	patience time.Duration // how long emitters wait
	full     time.Time     // when an emitter first found no room; zero when half of the queue was free since
	taken    uint64        // what had been published then
	slow     bool          // emitters do not wait until half of the queue is free
}

const (
	roomPause = 50 * time.Millisecond
	// slowShare is the part of the queue that a link has to publish within EmitTimeout for emitters to
	// go on waiting for it.
	slowShare = 64
)

// published wakes the emitters that wait, if it is time. o.mu is held.
func (r *room) published(o *outbox) {
	if r.open == nil && r.full.IsZero() {
		return
	}
	if o.loads[traffic].belowHalf(o.limit) {
		r.full, r.slow = time.Time{}, false
		r.release()
		return
	}
	if r.open != nil && o.limit.items-o.loads[traffic].items >= r.waiting && o.loads[traffic].bytes < o.limit.bytes && time.Since(r.since) >= roomPause {
		r.release()
	}
}

func (r *room) release() {
	if r.open != nil {
		close(r.open)
		r.open = nil
	}
}

// emitterRoom returns nil if an event would be taken, the outbox is closed, or the link is slow; else a channel that is
// closed when the emitter should look again. until is when the emitter has waited long enough; slowed reports that the link
// has just become slow.
func (o *outbox) emitterRoom() (open <-chan struct{}, until time.Time, slowed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := &o.room
	if o.closed || r.slow || o.loads[traffic].below(o.limit) {
		return nil, until, false
	}
	now := time.Now()
	if r.full.IsZero() || now.Sub(r.full) >= r.patience && o.taken()-r.taken >= uint64(max(1, o.limit.items/slowShare)) {
		r.full, r.taken = now, o.taken()
	}
	until = r.full.Add(r.patience)
	if !now.Before(until) {
		r.slow = true
		return nil, until, true
	}
	if r.open == nil {
		r.open, r.since, r.waiting = make(chan struct{}), now, 0
	}
	r.waiting++
	return r.open, until, false
}

// AwaitRoom returns nil if an emitter need not wait for the link; else a channel that is closed when the emitter should call
// AwaitRoom again. At the instant until it should call again in any case. AwaitRoom itself does not wait.
//
// An emitter waits at most Options.EmitTimeout for a link. A link that has published less than a 64th of its queue in that
// time is slow: until half of its queue is free emitters do not wait for it, and events that find no room are dropped for it.
// Emitters do not wait either for a link that is closed, or whose peer has not been heard of yet.
func (l *Link) AwaitRoom() (room <-chan struct{}, until time.Time) {
	if !l.isReady() {
		return nil, until
	}
	room, until, slowed := l.out.emitterRoom()
	if slowed {
		l.slowed()
	}
	return room, until
}

// slowed counts and logs that emitters have given the link up: in a goroutine, since an emitter may hold the
// sequence, and a logger is user code.
func (l *Link) slowed() {
	l.stats.slow.Add(1)
	go l.log.Warn("link is slow, dropping its events until half of its queue is free", "timeout", l.bus.opts.EmitTimeout, "queued", l.out.len())
}
