package memory

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// subscription is one Subscribe call. An entry goes from the queue into the
// window, and with that to the subscriber; it leaves the window when it is
// acked, or buried after its last nack.
//
// Publishers and the pump move it along, whichever comes first, all under
// topic.mu, which guards every field below the first group.
type subscription struct {
	pubsub *PubSub
	topic  *topic
	opts   *Options
	ctx    context.Context // ends the subscription
	cancel context.CancelFunc
	output chan *message.Message // capacity MaxUnacked; closed by the pump
	wake   chan struct{}         // capacity 1; tells the pump to look again
	alarm  *time.Timer           // tells the pump that it is time to look

	queue  queue
	window []*delivery // in order of delivery, MaxUnacked at most
	slab   []delivery  // unused deliveries

	watch    *delivery // its verdict makes a full window worth looking through; nil: not chosen
	guarded  *delivery // what the pump blocks on
	alarmed  bool      // the alarm is set: someone will look
	retrying int       // deliveries in the window that are not out
	moves    uint64    // deliveries and verdicts so far

	patrol    time.Duration // the pump's pause between two looks
	patrolled uint64        // moves at the last look
}

// free says how many entries s can take, looking no further than needed to
// say that it can take want.
func (s *subscription) free(want int) int {
	if n := s.room(); n >= want {
		return n
	}
	s.reap()
	s.advance()
	return s.room()
}

func (s *subscription) room() int {
	return s.opts.QueueSize - s.queue.len() + s.opts.MaxUnacked - len(s.window)
}

// take accepts an entry for which there is room.
func (s *subscription) take(e entry) {
	if s.queue.len() == 0 && !s.saturated() {
		s.deliver(e)
		return
	}
	s.queue.push(e)
	s.advance()
}

// advance delivers what it can from the queue, and sees to it that the pump
// goes on with the rest.
func (s *subscription) advance() {
	for s.queue.len() > 0 && !s.saturated() {
		s.deliver(s.queue.pop())
	}
	if s.queue.len() <= s.opts.QueueSize/2 {
		s.topic.signalRoom()
	}
	if s.queue.len() > 0 && s.guarded != s.watch {
		s.wakePump()
	}
}

// saturated reports whether nothing can be delivered. It looks through a full
// window only when the watched delivery has its verdict, so that looking pays.
func (s *subscription) saturated() bool {
	if s.full() {
		if s.watch == nil {
			s.watch = s.chooseWatch()
		}
		if s.watch == nil || verdictOf(s.watch.msg) == undecided {
			return true
		}
		s.reap()
	}
	return s.full()
}

// full reports whether the window or the output has no room. The output is
// never the fuller one, unless a publisher broke its promise about HandOver
// and acked a message before it was received.
func (s *subscription) full() bool {
	return len(s.window) >= s.opts.MaxUnacked || len(s.output) == cap(s.output)
}

// chooseWatch picks the delivery to watch. While the subscriber has plenty to
// go on with, it is one that leaves half of that: acks are then noticed many
// at a time, and the subscriber need not wait. When it has taken everything,
// it is the oldest; not one that was watched in vain, so that a forgotten ack
// holds up no other subscription.
func (s *subscription) chooseWatch() *delivery {
	if ready := len(s.output); ready >= 2 && ready <= len(s.window) {
		if d := s.window[len(s.window)-1-ready/2]; d.stage == out {
			return d
		}
	}
	var oldest *delivery
	for _, d := range s.window {
		if d.stage != out {
			continue
		}
		if !d.stale {
			return d
		}
		if oldest == nil {
			oldest = d
		}
	}
	return oldest
}

// deliver puts a new entry into the window and into the output, which both
// have room.
func (s *subscription) deliver(e entry) {
	d := s.newDelivery()
	d.entry, d.tries = e, 1
	s.window = append(s.window, d)
	s.hand(d)
}

// hand gives d to the subscriber. The output has room: it is filled only
// under topic.mu.
func (s *subscription) hand(d *delivery) {
	d.prepare(s)
	s.topic.counts.Delivered++
	s.moves++
	s.output <- d.msg
	if !s.alarmed {
		s.setAlarm(minPatrol)
	}
}

// reap notices verdicts: acked deliveries leave the window, nacked ones wait
// in it for what comes next.
func (s *subscription) reap() {
	kept := s.window[:0]
	for _, d := range s.window {
		if d.stage == out {
			switch verdictOf(d.msg) {
			case acked:
				s.topic.counts.Acked++
				s.moves++
				d.finish()
			case nacked:
				s.moves++
				s.nack(d)
			}
		}
		if d.stage != gone {
			kept = append(kept, d)
		}
	}
	clear(s.window[len(kept):])
	s.window = kept
	if s.watch != nil && s.watch.stage != out {
		s.watch = nil
	}
}

// wakePump makes the pump look again, now or when it next waits.
func (s *subscription) wakePump() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look anyway
	}
}

func (s *subscription) setAlarm(after time.Duration) {
	s.alarmed = true
	s.alarm.Reset(after)
}
