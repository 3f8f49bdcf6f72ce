package pairing

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
		case f.isReady():
			f.mail(f.events, outItem{letter: f.divide(e)})
		case len(f.early) < f.opts.QueueSize && f.earlyBytes < maxQueued:
			f.early = append(f.early, *e)
			f.earlyBytes += sizeOfEnvelope(e)
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
		m.heard = time.Now()
	}
	if f.fresh(f.heardEvents, l.envelope.ID) {
		l.envelope.Groups = picked(l.picks, f.self.session)
		l.envelope.Key = l.session
		fx.deliver(l.envelope)
	}
}

// flushing is a Flush of the registry's: it is answered when every process that was there has taken the events that
// were emitted before. Or it is of a process that withdraws: then they answer when they know that, on the topic of events, behind
// those that they had it in mind for. Guarded by Fleet.mu.
type flushing struct {
	waits   map[process]bool // for a registry this one is among them: its own marker has to come back
	since   time.Time
	version int64         // of the catalogue that the others have to know; 0 for a registry
	done    chan struct{} // closed when all have answered; nil for a registry
}

// mark sends the marker of a Flush. f.mu is held.
func (f *Fleet) mark(id string, fl *flushing) {
	f.mail(f.events, outItem{letter: &letter{kind: kindFlush, thread: id, version: fl.version}})
}

// flush asks all processes to say when they have come so far.
func (f *Fleet) flush(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil || !f.isReady() {
		return
	}
	fl := &flushing{waits: map[process]bool{f.self: true}, since: time.Now()}
	for _, m := range f.members {
		fl.waits[m.process] = true
	}
	f.flushes[id] = fl
	f.mark(id, fl)
}

// flushAsked answers a marker of another process's: the pump has handed over every event before it. f.mu is held.
func (f *Fleet) flushAsked(l *letter, fx *effects) {
	switch m := f.meet(l, fx); {
	case m == nil:
	case !f.possible(l.version, l.session):
		f.count.rejected.Add(1)
	case l.version == 0:
		f.post(m, &letter{kind: kindFlushed, thread: l.thread})
	default:
		m.owed, m.owedFor = l.thread, l.version
		f.settleOwed(m)
	}
}

// settleOwed answers a member that withdraws, once that is known. f.mu is held.
func (f *Fleet) settleOwed(m *member) {
	if m.owed != "" && m.version >= m.owedFor {
		f.mail(f.events, outItem{letter: &letter{kind: kindFlushed, thread: m.owed}})
		m.owed = ""
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
		if fl.done != nil {
			close(fl.done)
			return
		}
		fx.deliver(bus.Envelope{Type: bus.Flushed, Thread: id})
	}
}

// repeatFlushes sends markers again that may have been lost, and forgets those that nobody can be waiting for any
// more. f.mu is held.
func (f *Fleet) repeatFlushes(now time.Time) {
	for id, fl := range f.flushes {
		if now.Sub(fl.since) > f.opts.RequestTTL {
			delete(f.flushes, id)
			continue
		}
		f.mark(id, fl)
	}
}
