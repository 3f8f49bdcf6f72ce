package fleet

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/dedupe"
)

// served is a request of another process's that the registry has and has not answered. Immutable.
type served struct {
	id       string // the registry's
	caller   *member
	callerID string
}

// serveRequest gives the registry a request from another process. f.mu is held.
func (f *Fleet) serveRequest(l *letter, fx *effects) {
	known := false
	if m := f.members[l.id]; m != nil && m.session == l.session {
		known = !m.clock.measured.IsZero()
	}
	m := f.meet(l, fx)
	if m == nil {
		return
	}
	e := l.envelope
	if f.missed(m, known, l.sent) { // its caller may have been told that this process is gone
		f.count.missed.Add(1)
		f.refuseAgain(m, e.ID)
		return
	}
	if left, known := m.clock.left(l.expires, f.stamp()); known && left <= 0 {
		f.count.expired.Add(1)
		f.doubt(m)
		return
	} else if known {
		e.Deadline = min(left, orDefault(e.Deadline, left))
	}
	if !f.fresh(f.seen, l.session+"/"+e.ID) {
		return
	}
	if f.draining || f.link == nil || !f.link.greeted {
		fault := disconnected(f.opts.Channel)
		fault.Unrouted = true
		f.answer(m, e.ID, fault)
		return
	}
	s := &served{id: bus.NewID(), caller: m, callerID: e.ID}
	if m.serving == nil {
		m.serving = make(map[string]*served)
	}
	f.serving[s.id], m.serving[s.callerID] = s, s
	f.engage(m)
	e.ID = s.id
	fx.deliver(e)
}

// doubt measures a member's clock again, of which a request says that it has expired: one of the clocks may have been set, and
// all that follow would be dropped as well. f.mu is held.
func (f *Fleet) doubt(m *member) {
	if now := time.Now(); now.Sub(m.doubted) > f.opts.Lease/ticks {
		m.doubted = now
		f.ping(m)
	}
}

// maxKey bounds what is remembered of one request or event, in bytes: of a longer key its hash is.
const maxKey = 96

// fresh reports whether a request or event was not received before. The store is in memory and does not block.
func (f *Fleet) fresh(store *dedupe.TTLStore, key string) bool {
	if len(key) > maxKey {
		sum := sha256.Sum256([]byte(key))
		key = string(sum[:])
	}
	fresh, err := store.Reserve(context.Background(), key)
	if err == nil && !fresh {
		f.count.duplicates.Add(1)
	}
	return fresh && err == nil
}

// cancelServed tells the registry that the caller of a request has left. f.mu is held.
func (f *Fleet) cancelServed(l *letter, fx *effects) {
	m := f.memberOf(l)
	if m == nil {
		return
	}
	if s := m.serving[l.envelope.Thread]; s != nil {
		f.forget(s)
		fx.deliver(bus.Envelope{Type: bus.Cancel, Thread: s.id})
	}
}

// forget ends a request that was served. f.mu is held.
func (f *Fleet) forget(s *served) {
	delete(f.serving, s.id)
	delete(s.caller.serving, s.callerID)
	f.settleIdle()
}

// settleIdle tells who drains that nothing is served any more. f.mu is held.
func (f *Fleet) settleIdle() {
	if !f.draining || len(f.serving)+len(f.jobs) > 0 {
		return
	}
	select {
	case <-f.idle:
	default:
		close(f.idle)
	}
}

// reply sends the registry's answer to whoever has asked. It is called by the link's writer, and waits where that
// one's outbox is full.
func (f *Fleet) reply(e *bus.Envelope) error {
	if f.worked(e) {
		return nil
	}
	for {
		f.mu.Lock()
		s := f.serving[e.Thread]
		if s == nil { // the caller has left, or gone
			f.mu.Unlock()
			return nil
		}
		room := f.boxOf(s.caller).full(itemAnswer)
		if room == nil {
			f.sendReply(s, e, false)
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

// sendReply sends the answer to a request, which is over then. f.mu is held.
func (f *Fleet) sendReply(s *served, e *bus.Envelope, helped bool) {
	out := *e
	out.Thread = s.callerID
	f.mail(f.boxOf(s.caller), outItem{letter: &letter{to: s.caller.session, envelope: out}, helped: helped})
	f.forget(s)
}

// tryReply is reply where it need not wait.
func (f *Fleet) tryReply(e *bus.Envelope) bool {
	f.mu.Lock()
	s := f.serving[e.Thread]
	if s == nil || !f.boxOf(s.caller).has(itemAnswer) {
		f.mu.Unlock()
		return false
	}
	box := s.caller.box
	alone := f.prompt != nil && len(s.caller.serving) == 1
	f.sendReply(s, e, alone)
	f.mu.Unlock()
	if alone {
		box.help()
	}
	return true
}

// awaitRoom waits until it is worth another look, or in vain.
func (f *Fleet) awaitRoom(room <-chan struct{}) error {
	select {
	case <-room:
		return nil
	case <-f.hurry:
		return errNoRoom
	case <-f.closing:
		return errNoRoom
	}
}

var errNoRoom = errors.New("the outbox is full, and the fleet ends")

// answer answers a member's request in the registry's place. f.mu is held.
func (f *Fleet) answer(m *member, thread string, fault *bus.Fault) {
	f.post(m, &letter{envelope: response(thread, fault)})
}

// refuseAgain answers a request that was not executed, and may be sent to this process again by a caller that still waits. f.mu is
// held.
func (f *Fleet) refuseAgain(m *member, thread string) {
	fault := disconnected(f.opts.Channel)
	fault.Unrouted = true
	f.post(m, &letter{envelope: response(thread, fault), again: true})
}

// post sends a letter to a member: behind the requests and replies to it, if there are any. One that finds no room is counted. f.mu
// is held.
func (f *Fleet) post(m *member, l *letter) {
	l.to = m.session
	if m.box != nil {
		f.mail(m.box, outItem{letter: l})
		return
	}
	f.aside(m, l)
}

// aside sends a letter to a member, past the requests and replies that wait. f.mu is held.
func (f *Fleet) aside(m *member, l *letter) {
	l.to = m.session
	f.mail(f.letters, outItem{letter: l, topic: f.inboxTopic(m.id)})
}

// mail puts a letter that is no request into an outbox. f.mu is held.
func (f *Fleet) mail(box *outbox, it outItem) {
	l := it.letter
	l.process, l.sent = f.self, f.stamp()
	if l.kind != "" {
		l.wire, l.oldest = wireVersion, wireOldest
	}
	it.kind = itemAnswer
	if !box.push(it) {
		f.count.unsent.Add(1)
	}
}
