package pairing

import (
	"fmt"

	"github.com/leatbus/leat/bus"
)

// learn takes what the registry says it executes, and tells the others. Registrations are always granted: several
// processes may serve one command.
func (f *Fleet) learn(e *bus.Envelope) error {
	var defs []bus.Definition
	var err error
	if e.Type == bus.ListResponse {
		defs, err = e.Definitions()
	} else {
		defs = make([]bus.Definition, 1)
		defs[0], err = e.Definition()
	}
	if err != nil {
		return err
	}
	f.update(func(fx *effects) {
		if e.Type == bus.RegisterRequest {
			fx.deliver(bus.Envelope{Type: bus.RegisterResponse, Thread: e.ID, Fault: f.unqueued(&defs[0])})
		}
		var news []bus.Definition
		for _, def := range defs {
			if def.Durable || f.queues[def.ID] != nil {
				f.learnDurable(def, fx)
			}
			if def.Durable {
				continue // it is announced when its queue is there
			}
			old, known := f.own[def.ID]
			f.own[def.ID] = def
			f.announced(f.self.id, &def, fx)
			if !known || !same(&old, &def) {
				news = append(news, def)
			}
		}
		if len(news) > 0 {
			for _, part := range split(news) {
				f.change(newCatalogue(part))
			}
		}
	})
	return nil
}

// unlearn takes that the registry does not execute a command any more.
func (f *Fleet) unlearn(id string) {
	f.update(func(fx *effects) {
		f.queues[id].quit()
		delete(f.queues, id)
		if _, known := f.own[id]; !known {
			return
		}
		delete(f.own, id)
		f.change(catalogue{Remove: []string{id}})
	})
}

// change tells the others what is different. f.mu is held.
func (f *Fleet) change(what catalogue) {
	f.version++
	if f.isReady() && f.err == nil && (!f.draining || what.Clear) {
		f.mail(f.discovery, outItem{letter: &letter{kind: kindChange, version: f.version, body: encode(what)}})
	}
}

// noticed handles a notice from another process. f.mu is held.
func (f *Fleet) noticed(l *letter, fx *effects) error {
	var m *member
	switch l.kind {
	case kindHello, kindBeat, kindChange, kindAsk, kindList, kindPing:
		m = f.meet(l, fx)
	case kindPong, kindBye, kindFlushed:
		m = f.memberOf(l)
	default: // of a later version
		f.count.unknown.Add(1)
	}
	if m == nil {
		return nil
	}
	m.tells(l.lease)
	if !f.possible(l.version, l.session) || l.gaps < 0 {
		return fmt.Errorf("%s: version %d, gaps %d", l.kind, l.version, l.gaps)
	}
	switch l.kind {
	case kindHello, kindBeat:
		if l.names { // it has not heard of this process yet, or not for long
			f.tell(m, l.sent)
		}
		if l.version != m.version || l.gaps != m.gaps { // its answer counts: the beat may be forged
			f.ask(m)
		}
	case kindAsk:
		f.tell(m, l.sent)
	case kindChange:
		f.changed(m, l, fx)
	case kindList:
		m.clock.observe(l.echo, l.sent, f.stamp(), f.opts.Lease)
		return f.listed(m, l, fx)
	case kindPing:
		f.post(m, &letter{kind: kindPong, echo: l.sent})
	case kindPong:
		m.clock.observe(l.echo, l.sent, f.stamp(), f.opts.Lease)
	case kindBye:
		why := leaves
		if l.drained {
			why = drained
		}
		f.drop(m, why, fx)
	case kindFlushed:
		f.flushedBy(l.thread, f.flushes[l.thread], l.process, fx)
	}
	return nil
}
