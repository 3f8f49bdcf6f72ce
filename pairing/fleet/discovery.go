package fleet

import (
	"fmt"
	"time"

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
	what.From = f.mine.hash()
	f.mine.apply(&what, maxKnown)
	f.version++
	if f.isReady() && f.err == nil && !f.draining {
		l := &letter{kind: kindChange, body: encode(what)}
		f.introduce(l)
		f.mail(f.discovery, outItem{letter: l})
	}
}

// noticed handles a notice from another process. f.mu is held.
func (f *Fleet) noticed(l *letter, fx *effects) error {
	if !l.knownKind() {
		f.count.unknown.Add(1)
		return nil
	}
	if !f.possible(l.version, l.session) || l.gaps < 0 {
		return fmt.Errorf("%s: version %d, gaps %d", l.kind, l.version, l.gaps)
	}
	var m *member
	switch l.kind {
	case kindHello, kindBeat, kindChange, kindJoin, kindSync, kindPing, kindPong, kindFetch:
		m = f.meet(l, fx)
	case kindDrain:
		if m = f.members[l.id]; m == nil || m.session != l.session {
			m = nil
			f.leftNow(l.session, true)
		} else {
			f.hear(m, l)
		}
	default:
		m = f.memberOf(l)
	}
	if m == nil || m.foreign && l.kind != kindBye {
		if m != nil && l.kind == kindPing {
			f.pong(m, l)
		}
		return nil
	}
	switch l.kind {
	case kindHello, kindBeat:
		if l.to != "" {
			f.mayStay(m, l, fx)
		}
		f.claimed(m, l, fx)
		f.greetedBy(m, l)
	case kindChange:
		f.changed(m, l, fx)
	case kindSuspect:
		f.suspected(l)
	case kindJoin, kindSync:
		f.tellView(m, l)
	case kindView:
		m.clock.observe(l.echo, l.sent, f.stamp(), f.opts.Lease)
		f.viewed(m, l, fx)
	case kindPing:
		f.pong(m, l)
		f.mayStay(m, l, fx)
		if l.version != 0 {
			f.claimed(m, l, fx)
		}
	case kindPong:
		f.ponged(m, l, fx)
	case kindFetch:
		f.tell(m, l.sent)
	case kindList:
		return f.listed(m, l, fx)
	case kindDrain:
		f.drains(m, l, fx)
	case kindConfirm:
		f.confirmed(m, l)
	case kindBye:
		f.byeFrom(m, l, fx)
	case kindFlushed:
		f.flushedBy(l.thread, f.flushes[l.thread], l.process, fx)
	}
	return nil
}

// pong answers a ping. f.mu is held.
func (f *Fleet) pong(m *member, l *letter) {
	answer := &letter{kind: kindPong, echo: l.sent, digest: int64(f.digest())}
	f.introduce(answer)
	f.aside(m, answer)
	if f.leave != nil && !m.draining { // it may not know
		f.post(m, &letter{kind: kindDrain, thread: f.leave.id})
	}
}

// greetedBy takes a hello or beat of a member: has it welcomed this process, or others? f.mu is held.
func (f *Fleet) greetedBy(m *member, l *letter) {
	for _, session := range l.notice.Welcome {
		delete(f.welcomes, session) // once is enough
	}
	if !l.names || l.to != "" {
		return
	}
	if f.guide.session == "" && (!f.joined || l.notice.Size > len(f.members)+1) {
		f.follow(m, !f.joined || l.notice.Size > 2*len(f.members))
		return
	}
	if f.joined && l.kind == kindBeat && time.Since(f.namedAt) > f.opts.Lease { // it is of those that this process had lost
		f.namedAt = time.Now()
		f.hello()
	}
}

// byeFrom takes the goodbye of a member. The one that goes to all may overtake its last replies, which another one follows. f.mu is
// held.
func (f *Fleet) byeFrom(m *member, l *letter, fx *effects) {
	switch {
	case l.to == "" && m.busy():
		f.retire(m)
		m.closing = true
		m.watch.since = time.Now()
		f.observe(m)
	case l.drained:
		f.drop(m, drained, fx)
	default:
		f.drop(m, leaves, fx)
	}
}

// mayStay takes what a member says to this process: is it still about to leave? f.mu is held.
func (f *Fleet) mayStay(m *member, l *letter, fx *effects) {
	if !l.drained && (m.closing || m.draining && (l.sent > m.drainOf || time.Since(m.drainAt) > f.opts.Lease)) {
		f.stays(m, fx)
	}
}

// stays takes back that a member is about to go: it has said itself that it is not. f.mu is held.
func (f *Fleet) stays(m *member, fx *effects) {
	if !m.draining && !m.closing {
		return
	}
	m.draining, m.closing = false, false
	f.mark(m)
	if m.kind != nil && m.kind.known {
		f.install(m, nil, nil, fx)
	}
}

// retire chooses a member no more. f.mu is held.
func (f *Fleet) retire(m *member) {
	f.unserveAll(m)
	f.unmark(m)
	f.changedAt = time.Now()
	f.tellNews()
}
