package chaostest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// lane is what a topic has of its own.
type lane struct {
	p     *Publisher
	topic string
	calm  bool          // no dice here
	wake  chan struct{} // of capacity 1: the goroutine looks again

	mu        sync.Mutex
	dice      dice          // guarded by mu
	queue     []*held       // guarded by mu: they keep their order; the first may be on its way
	late      []*held       // guarded by mu: they wait to be overtaken
	onWay     int           // guarded by mu: late ones that are being handed on
	counts    Stats         // guarded by mu; Held is not kept
	releasing bool          // guarded by mu: the goroutine runs
	closed    bool          // guarded by mu
	news      chan struct{} // guarded by mu: closed and replaced when less is held, or the line is another
}

// held is a copy on its way.
type held struct {
	msg       *message.Message
	due       time.Time
	overtakes int // how many are still to go first; 0: it is in the queue
	lose      bool
}

func newLane(p *Publisher, topic string, calm bool) *lane {
	return &lane{
		p: p, topic: topic, calm: calm, dice: newDice(&p.opts, topic),
		wake: make(chan struct{}, 1), news: make(chan struct{}),
	}
}

func (l *lane) publish(m *message.Message) error {
	for {
		now, full, err := l.admit(m, l.p.line(l.topic))
		if err != nil {
			return err
		}
		if full == nil {
			return l.handOn(now)
		}
		select {
		case <-full:
		case <-m.Context().Done():
			return m.Context().Err()
		}
	}
}

// handOn hands on what goes at once. It returns the first error.
func (l *lane) handOn(now []*held) error {
	var first error
	for _, h := range now {
		err := l.p.inner.Publish(l.topic, h.msg)
		l.settled(h, err)
		if first == nil {
			first = err
		}
	}
	return first
}

// admit decides what becomes of m, and returns the copies that go at once. If
// there is no room it decides nothing, and returns a channel that is closed
// when it is worth another try.
func (l *lane) admit(m *message.Message, on line) (now []*held, full <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, nil, ErrClosed
	}
	if on == whole && l.held() >= l.p.opts.MaxHeld {
		if h := l.earliest(); h != nil { // else all of them are on their way
			h.due = time.Time{}
			l.kick()
		}
		return nil, l.news, nil
	}
	fates := []fate{{}}
	if !l.calm {
		fates = l.dice.throw()
	}
	l.count(fates)
	for _, f := range fates {
		switch {
		case on == losing, on == holding && l.held() >= l.p.opts.MaxHeld:
			l.counts.Lost++
		case on == whole && f == fate{} && len(l.queue) == 0:
			now = append(now, &held{msg: m.CopyWithContext()})
		default:
			l.keep(m, f)
		}
	}
	return now, nil, nil
}

func (l *lane) count(fates []fate) {
	l.counts.Published++
	if len(fates) == 0 {
		l.counts.Dropped++
		return
	}
	l.counts.Copied += uint64(len(fates) - 1)
	for _, f := range fates {
		if f.overtakes > 0 {
			l.counts.Reordered++
		} else if f.delay > 0 {
			l.counts.Delayed++
		}
	}
}

// keep holds a copy.
func (l *lane) keep(m *message.Message, f fate) {
	h := &held{msg: m.Copy(), due: time.Now().Add(f.delay), overtakes: f.overtakes}
	h.msg.SetContext(context.WithoutCancel(m.Context()))
	if f.overtakes > 0 {
		h.due = h.due.Add(l.p.opts.MaxDelay)
		l.late = append(l.late, h)
	} else {
		l.queue = append(l.queue, h)
	}
	l.kick()
}

func (l *lane) held() int { return len(l.queue) + len(l.late) + l.onWay }

// earliest returns what is due next, nil if nothing is.
func (l *lane) earliest() *held {
	var first *held
	if len(l.queue) > 0 {
		first = l.queue[0]
	}
	for _, h := range l.late {
		if first == nil || h.due.Before(first.due) {
			first = h
		}
	}
	return first
}

// settled accounts for a copy that was handed on, or refused. One that was in
// its place has overtaken those that wait for that.
func (l *lane) settled(h *held, err error) {
	for _, late := range l.leave(h, err) {
		l.settled(late, l.p.inner.Publish(l.topic, late.msg))
	}
}

// leave returns the late copies that are to follow h.
func (l *lane) leave(h *held, err error) (follow []*held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.notify()
	switch {
	case h.overtakes > 0:
		l.onWay--
	case len(l.queue) > 0 && l.queue[0] == h:
		l.queue = slices.Delete(l.queue, 0, 1)
	}
	switch {
	case h.lose:
		l.counts.Lost++
	case err != nil:
		l.counts.Failed++
	default:
		l.counts.Delivered++
		if h.overtakes == 0 {
			follow = l.overtaken()
		}
	}
	return follow
}

// overtaken takes out the late copies for which one more message was enough.
func (l *lane) overtaken() (follow []*held) {
	l.late = slices.DeleteFunc(l.late, func(h *held) bool {
		if h.overtakes > 1 {
			h.overtakes--
			return false
		}
		follow = append(follow, h)
		l.onWay++
		return true
	})
	return follow
}

// notify lets whoever waits for room or emptiness look again.
func (l *lane) notify() {
	close(l.news)
	l.news = make(chan struct{})
}

func (l *lane) stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.counts
	s.Held = uint64(l.held())
	return s
}
