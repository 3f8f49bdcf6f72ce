package pairing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
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

// ask asks a member for all its commands, unless an answer is on its way. f.mu is held.
func (f *Fleet) ask(m *member) {
	if m.asked.IsZero() {
		m.asked = time.Now()
		f.post(m, &letter{kind: kindAsk})
	}
}

// tell sends a member all the commands of this process, in answer to what was sent at echo. f.mu is held.
func (f *Fleet) tell(m *member, echo int64) {
	var defs []bus.Definition
	if !f.draining {
		defs = slices.SortedFunc(maps.Values(f.own), func(a, b bus.Definition) int { return strings.Compare(a.ID, b.ID) })
	}
	var parts []catalogue
	for _, part := range split(defs) {
		parts = append(parts, newCatalogue(part))
	}
	if !f.draining {
		parts = append(parts, f.listGroups()...)
	}
	for i, part := range parts {
		f.post(m, &letter{kind: kindList, version: f.version, gaps: f.gaps, echo: echo, part: i + 1, parts: len(parts), body: encode(part)})
	}
}

// noticed handles a notice from another process.
func (f *Fleet) noticed(l *letter, fx *effects) (err error) {
	m := f.meet(l, fx)
	if m == nil {
		return
	}
	if l.kind == kindHello || l.kind == kindBeat || l.kind == kindList {
		f.hasGaps(m, l.gaps, fx)
	}
	switch l.kind {
	case kindHello: // the question first: the answer tells its clock before it sends anything else
		m.asked = time.Time{}
		f.ask(m)
		f.tell(m, l.sent)
	case kindBeat:
		if l.version != m.version {
			f.ask(m)
		}
	case kindAsk:
		f.tell(m, l.sent)
	case kindChange:
		err = f.changed(m, l)
	case kindList:
		m.clock.observe(l.echo, l.sent, f.stamp(), f.opts.Lease)
		err = f.listed(m, l)
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
	default:
		err = fmt.Errorf("unknown kind %q", l.kind)
	}
	return err
}

// changed takes a change of a member's commands. One that does not follow on what is known makes it ask for all. f.mu
// is held.
func (f *Fleet) changed(m *member, l *letter) error {
	m.wanted = max(m.wanted, l.version)
	switch {
	case l.version <= m.version:
		return nil
	case l.version != m.version+1 || m.version == 0:
		f.ask(m)
		return nil
	}
	what, err := readCatalogue(l.body)
	if err != nil {
		return err
	}
	m.version = l.version
	f.apply(m, what)
	return nil
}

// listed takes one part of a member's list. f.mu is held.
func (f *Fleet) listed(m *member, l *letter) error {
	if l.version < m.version || l.parts == 0 {
		m.asked = time.Time{}
		return nil
	}
	if m.partsOf != l.version || m.parts == nil {
		m.parts, m.partsOf = make(map[int][]byte), l.version
	}
	m.parts[l.part] = l.body
	if len(m.parts) < l.parts {
		return nil
	}
	all := catalogue{Clear: true}
	for _, i := range slices.Sorted(maps.Keys(m.parts)) {
		part, err := readCatalogue(m.parts[i])
		if err != nil {
			m.parts = nil
			return err
		}
		all.Add, all.Join = append(all.Add, part.Add...), append(all.Join, part.Join...)
	}
	m.parts, m.version, m.asked = nil, l.version, time.Time{}
	f.apply(m, all)
	if m.wanted > m.version {
		f.ask(m)
	}
	return nil
}

// apply changes what is known of a member's commands. f.mu is held.
func (f *Fleet) apply(m *member, what catalogue) {
	kept := make(map[string]bool, len(what.Add))
	for _, def := range what.Add {
		kept[def.ID] = true
	}
	if what.Clear {
		for id := range m.commands {
			if !kept[id] {
				f.unserve(m, id)
			}
		}
	}
	for _, id := range what.Remove {
		f.unserve(m, id)
	}
	for _, def := range what.Add {
		f.serve(m, def)
	}
	f.seat(m, what)
	f.settleOwed(m)
	f.tellNews()
}

// readCatalogue reads the body of a change or list, strictly.
func readCatalogue(data []byte) (c catalogue, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, fmt.Errorf("commands: %w", err)
	}
	for i, def := range c.Add {
		c.Add[i].Durable = slices.Contains(c.Durable, def.ID)
		if def.ID == "" || strings.HasPrefix(def.ID, "_") {
			return c, fmt.Errorf("commands: empty or private ID %q", def.ID)
		}
	}
	for _, in := range c.Join {
		if _, err := in.check(); err != nil {
			return c, err
		}
	}
	return c, nil
}
