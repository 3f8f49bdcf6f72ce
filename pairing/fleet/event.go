package fleet

import (
	"time"

	"github.com/leatbus/leat/bus"
)

// emit publishes an event of the registry's, or that it relays. It is called by the link's writer, and waits where the
// outbox is full.
func (f *Fleet) emit(e *bus.Envelope) error {
	for {
		f.mu.Lock()
		room := f.events.full(itemRequest)
		switch {
		case room != nil:
		case f.isSettled():
			f.mail(f.events, outItem{letter: f.divide(e)})
		case len(f.early) < f.opts.QueueSize && f.earlyBytes < maxQueued:
			f.early = append(f.early, *e)
			f.earlyBytes += sizeOfEnvelope(e)
		case f.isReady(): // it will be soon
			room = f.acquainted
		default:
			f.count.unsent.Add(1)
		}
		f.mu.Unlock()
		if room == nil {
			return nil
		}
		if err := f.awaitRoom(room); err != nil {
			return err
		}
	}
}

// eventMemory is how many leases an event is remembered. A message of which the broker has not said that it has it, and
// has, is published again for up to one; by then the registry's EventTTL may be over.
const eventMemory = 3

// received gives the registry an event. One of a process that has left meanwhile, or begun anew, is one all the same.
//
// f.mu is held.
func (f *Fleet) received(l *letter, fx *effects) {
	if m := f.members[l.id]; m != nil && m.session == l.session {
		f.hear(m, l)
	}
	if f.fresh(f.heardEvents, l.envelope.ID) {
		l.envelope.Groups = picked(l.picks, f.self.session)
		if len(*l.envelope.Groups) > 0 {
			f.took(l.session, l.envelope.ID)
		}
		l.envelope.Key = l.session
		fx.deliver(l.envelope)
	}
}

// flushing is a Flush of the registry's: it is answered when every process that was there has taken the events that
// were emitted before. Guarded by Fleet.mu.
type flushing struct {
	waits map[process]bool // this process is among them: its own marker has to come back
	since time.Time
}

// marker sends the marker of a Flush. f.mu is held.
func (f *Fleet) marker(id string, fl *flushing) {
	clear(fl.waits)
	fl.since = time.Now()
	fl.waits[f.self] = true
	for _, m := range f.members {
		if !m.foreign && !m.draining && !m.closing {
			fl.waits[m.process] = true
			f.observe(m)
		}
	}
	f.mail(f.events, outItem{letter: &letter{kind: kindFlush, thread: id}})
}

// flush asks all processes to say when they have come so far.
func (f *Fleet) flush(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil || !f.isReady() {
		return
	}
	fl := &flushing{waits: make(map[process]bool), since: time.Now()}
	f.flushes[id] = fl
	if f.isSettled() { // else it is sent behind the events that wait for that
		f.marker(id, fl)
	}
}

// flushAsked answers a marker of another process's: the pump has handed over every event before it. f.mu is held.
func (f *Fleet) flushAsked(l *letter, fx *effects) {
	if m := f.meet(l, fx); m != nil && !m.foreign {
		f.post(m, &letter{kind: kindFlushed, thread: l.thread})
	}
}

// flushedBy notes that a process has come so far, or is gone. f.mu is held.
func (f *Fleet) flushedBy(id string, fl *flushing, who process, fx *effects) {
	if fl == nil || !fl.waits[who] {
		return
	}
	delete(fl.waits, who)
	if len(fl.waits) == 0 {
		delete(f.flushes, id)
		fx.deliver(bus.Envelope{Type: bus.Flushed, Thread: id})
	}
}

// repeatFlushes sends markers again that may have been lost, and forgets those that nobody can be waiting for any
// more. f.mu is held.
func (f *Fleet) repeatFlushes(now time.Time) {
	for id, fl := range f.flushes {
		switch {
		case !f.isSettled(): // its marker is not sent yet
		case now.Sub(fl.since) > f.opts.RequestTTL:
			delete(f.flushes, id)
		default:
			f.mail(f.events, outItem{letter: &letter{kind: kindFlush, thread: id}})
		}
	}
}
