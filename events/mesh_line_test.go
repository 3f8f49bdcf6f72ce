package events_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// line is one direction of a transport that takes its time, in a testing/synctest bubble. It keeps what is not
// subscribed to yet.
type line struct {
	latency, jitter time.Duration // how long a message is on its way
	service         time.Duration // how long Publish takes
	ordered         bool
	bare            bool          // it carries no metadata
	carried         *atomic.Int64 // counts messages; or nil

	mu    sync.Mutex
	rand  *rand.Rand
	queue []parcel // in the order in which they arrive
	sent  chan struct{}
}

type parcel struct {
	m  *message.Message
	at time.Time
}

func (l *line) Publish(_ string, messages ...*message.Message) error {
	for _, m := range messages {
		time.Sleep(l.service)
		if l.carried != nil {
			l.carried.Add(1)
		}
		c := message.NewMessage(m.UUID, m.Payload)
		if !l.bare {
			for k, v := range m.Metadata {
				c.Metadata[k] = v
			}
		}
		l.mu.Lock()
		p := parcel{c, time.Now().Add(l.latency + time.Duration(l.rand.Int64N(int64(l.jitter)+1)))}
		i := len(l.queue)
		for ; i > 0 && l.queue[i-1].at.After(p.at); i-- {
			if l.ordered {
				p.at = l.queue[i-1].at
				break
			}
		}
		l.queue = append(l.queue, parcel{})
		copy(l.queue[i+1:], l.queue[i:])
		l.queue[i] = p
		l.mu.Unlock()
		select {
		case l.sent <- struct{}{}:
		default:
		}
	}
	return nil
}

// slow makes all that is published from now on take that long.
func (l *line) slow(latency time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latency = latency
}

func (l *line) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		for ctx.Err() == nil {
			m, wait := l.next()
			if m != nil {
				select {
				case out <- m:
					continue
				case <-ctx.Done():
					return
				}
			}
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-l.sent:
			case <-ctx.Done():
			}
			timer.Stop()
		}
	}()
	return out, nil
}

// next returns a message that has arrived, or how long to wait for the first that has not.
func (l *line) next() (*message.Message, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return nil, time.Hour
	}
	if wait := time.Until(l.queue[0].at); wait > 0 {
		return nil, wait
	}
	m := l.queue[0].m
	l.queue = l.queue[1:]
	return m, 0
}

func (l *line) Close() error { return nil }
