package chaostest

import (
	"context"
	"time"
)

// release hands on what falls due, until nothing is held or the line is. It is
// the lane's goroutine.
func (l *lane) release() {
	defer l.p.releasing.Done()
	for {
		h, wait, more := l.next(l.p.line(l.topic))
		switch {
		case !more:
			return
		case h == nil:
			l.pause(wait)
		case h.lose:
			l.settled(h, nil)
		default:
			l.settled(h, l.p.inner.Publish(l.topic, h.msg))
		}
	}
}

// next returns the copy that goes now, or how long there is nothing to do; more
// is false when the goroutine is to end.
func (l *lane) next(on line) (h *held, wait time.Duration, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h = l.earliest()
	if h == nil || on == holding && !l.closed {
		select {
		case <-l.wake:
			return nil, 0, true
		default:
			l.releasing = false
			return nil, 0, false
		}
	}
	if wait = time.Until(h.due); wait > 0 && !l.closed {
		return nil, wait, true
	}
	h.lose = on != whole || l.closed && l.p.opts.DropOnClose
	for i, late := range l.late {
		if late == h {
			l.late = append(l.late[:i], l.late[i+1:]...)
			l.onWay++
			break
		}
	}
	return h, 0, true
}

func (l *lane) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.wake:
	}
}

// kick makes the goroutine look, and starts it if need be. mu is held.
func (l *lane) kick() {
	if l.releasing {
		select {
		case l.wake <- struct{}{}:
		default:
		}
		return
	}
	if l.held() > l.onWay {
		l.releasing = true
		l.p.releasing.Add(1)
		go l.release()
	}
}

// lookAgain is called when the line is another.
func (l *lane) lookAgain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed { // else close has seen to it
		l.kick()
	}
	l.notify()
}

// close makes everything due, and refuses more.
func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kick()
	l.closed = true
	l.notify()
}

// flush makes due what is held, and waits until it has left.
func (l *lane) flush(ctx context.Context) error {
	for {
		left, closed := l.hurry(l.p.line(l.topic))
		if left == nil {
			if closed {
				return ErrClosed
			}
			return nil
		}
		select {
		case <-left:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hurry returns nil if there is nothing to wait for.
func (l *lane) hurry(on line) (left <-chan struct{}, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || on == holding || l.held() == 0 {
		return nil, l.closed
	}
	for _, h := range l.queue {
		h.due = time.Time{}
	}
	for _, h := range l.late {
		h.due = time.Time{}
	}
	l.kick()
	return l.news, false
}
