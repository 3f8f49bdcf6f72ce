package memory

import (
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// While messages are out, the pump looks at all of them from time to time:
// that is how it learns of acks and nacks that it does not block on. It begins
// at minPatrol and slows down to maxPatrol while nothing happens.
const (
	minPatrol = time.Millisecond
	maxPatrol = 16 * time.Millisecond
)

// run is the subscription's goroutine, the pump. It does what publishers cannot
// do in passing: it blocks on the verdict of the watched message when others
// wait behind it, looks at all that are out from time to time, delivers nacked
// ones again, buries dead ones, and ends the subscription. As long as a
// subscriber keeps up, publishers deliver straight into its channel and the
// pump sleeps.
//
// It returns when the subscription has ended and its output is closed.
func (s *subscription) run() {
	defer s.end()
	for rang := false; ; {
		watched, dead := s.tend(rang)
		if len(dead) > 0 && s.ctx.Err() == nil {
			s.bury(dead)
			rang = false
			continue
		}
		var acks, nacks <-chan struct{} // nil, that is never, if nothing is watched
		if watched != nil {
			acks, nacks = watched.Acked(), watched.Nacked()
		}
		rang = false
		select {
		case <-s.ctx.Done():
			return
		case <-s.wake:
		case <-acks:
		case <-nacks:
		case <-s.alarm.C:
			rang = true
		}
	}
}

// tend does all that can be done now, sets the alarm, and returns the message
// to block on, if any, and the deliveries to bury.
func (s *subscription) tend(rang bool) (watched *message.Message, dead []*delivery) {
	s.topic.mu.Lock()
	defer s.topic.mu.Unlock()
	s.reap()
	if rang {
		s.alarmed = false
		s.lookElsewhere()
	}
	if s.retrying > 0 {
		dead = s.retry(time.Now())
	}
	s.advance()
	s.pace(rang)
	s.guard()
	s.schedule()
	if s.guarded != nil {
		watched = s.guarded.msg
	}
	return watched, dead
}

// lookElsewhere gives up on a guarded delivery that has had no verdict for a
// whole patrol while the subscriber has nothing else to take.
func (s *subscription) lookElsewhere() {
	if s.watch != nil && s.watch == s.guarded {
		s.watch.stale = s.watch.stale || len(s.output) < 2
		s.watch = nil
	}
}

// pace makes patrols rarer while nothing moves.
func (s *subscription) pace(rang bool) {
	if s.moves != s.patrolled {
		s.patrol = minPatrol
	} else if rang {
		s.patrol = min(2*s.patrol, maxPatrol)
	}
	s.patrolled = s.moves
}

// guard decides what to block on. When nothing waits in the queue and the
// subscriber is quick, that is nothing: a wake-up for each ack would cost more
// than all the rest, and the patrol is soon enough.
func (s *subscription) guard() {
	s.guarded = nil
	if s.queue.len() > 0 || s.patrol > minPatrol {
		if s.watch == nil {
			s.watch = s.chooseWatch()
		}
		s.guarded = s.watch
	}
}

// schedule sets the alarm for the next patrol, or the next redelivery if that
// is sooner. None is needed for a delivery that is alone and guarded.
func (s *subscription) schedule() {
	alone := len(s.window) == 1 && s.guarded != nil
	idle := len(s.window)+s.queue.len() == 0
	switch {
	case s.retrying > 0:
		s.setAlarm(min(s.patrol, s.untilRetry(time.Now())))
	case !s.alarmed && !alone && !idle:
		s.setAlarm(s.patrol)
	}
}

// end takes the subscription off its topic, counts what it leaves behind, and
// closes the output.
func (s *subscription) end() {
	s.cancel()
	s.alarm.Stop()
	queued, unacked := s.pubsub.remove(s)
	if queued+unacked > 0 {
		s.opts.Logger.Warn("memory: subscription ended with messages left",
			"topic", s.topic.name, "queued", queued, "unacked", unacked)
	}
	close(s.output)
}

// abandon empties the queue and the window, and takes back what is in the
// output, so that a subscriber gets nothing whose ack would not be noticed.
// The caller holds topic.mu and has removed the subscription from the topic.
func (s *subscription) abandon() (queued, unacked int) {
	s.reap()
	queued, unacked = s.queue.len(), len(s.window)
	s.topic.counts.Abandoned += uint64(queued + unacked)
	for _, d := range s.window {
		d.finish()
	}
	s.queue, s.window, s.watch, s.guarded = queue{}, nil, nil, nil
	for {
		select {
		case <-s.output:
		default:
			return queued, unacked
		}
	}
}
