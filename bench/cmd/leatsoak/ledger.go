package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
)

// stream is what one emitter says: 1, 2, 3 and so on.
type stream struct {
	from    *commands.Registry
	event   events.Event[int64]
	next    int64 // of the emitter's goroutine
	emitted atomic.Uint64
}

func newStream(from *commands.Registry) *stream {
	return &stream{from: from, event: events.Define[int64]("ledger." + from.ID())}
}

// emit emits a burst.
func (e *stream) emit(s *soaking, burst int) {
	for range burst {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err := events.Emit(ctx, e.from.Events(), e.event, e.next+1)
		cancel()
		if err != nil { // no listener hears it: its number is used again
			s.violated("emit", "%s: %v", e.event.ID(), err)
			return
		}
		e.next++
		e.emitted.Add(1)
		s.emitted.Add(1)
	}
}

// ledger is one listener to a stream, and where what it does not hear is counted.
type ledger struct {
	stream   *stream
	at       *commands.Registry
	path     []*bus.Link // by which the events come, as their senders see them
	listener *events.Listener
	heard    atomic.Uint64
	last     int64 // of the listener's goroutine
}

// hear opens the listener. One event of sixteen takes it pause, so that it may be slower than a burst.
func hear(s *soaking, e *stream, at *commands.Registry, pause time.Duration, path ...*bus.Link) *ledger {
	l := &ledger{stream: e, at: at, path: path}
	listener, err := events.Listen(at.Events(), e.event, func(_ context.Context, n int64) {
		l.take(s, n)
		if pause > 0 && n%16 == 0 {
			time.Sleep(pause)
		}
	}, events.ListenOptions{QueueSize: 1024})
	if err != nil {
		panic(err) // the event's ID is wrong
	}
	l.listener = listener
	return l
}

func (l *ledger) take(s *soaking, n int64) {
	l.heard.Add(1)
	s.heard.Add(1)
	switch {
	case n == l.last:
		s.violated("heard twice", "%s: %d", l, n)
	case n < l.last:
		s.violated("order", "%s: %d behind %d", l, n, l.last)
	default:
		l.last = n
	}
}

// counted is how many messages are counted as lost, on the way and here. Some are no events of the stream: it is an upper
// bound of those.
func (l *ledger) counted() (n uint64) {
	for _, link := range l.path {
		st := link.Stats()
		n += st.Unsent + st.Dropped
	}
	return n + l.listener.Stats().Dropped
}

// close checks that every event was heard or is counted.
func (l *ledger) close(s *soaking) {
	emitted, heard, counted := l.stream.emitted.Load(), l.heard.Load(), l.counted()
	switch {
	case heard > emitted:
		s.violated("events", "%s: %d emitted, %d heard", l, emitted, heard)
	case emitted-heard > counted:
		s.violated("events", "%s: %d emitted, %d heard, and only %d counted as lost", l, emitted, heard, counted)
	default:
		s.lost.Add(emitted - heard)
	}
}

func (l *ledger) String() string { return fmt.Sprintf("%s at %s", l.stream.event.ID(), l.at.ID()) }
