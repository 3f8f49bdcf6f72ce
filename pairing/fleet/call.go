package fleet

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/leatbus/leat/bus"
)

// call is a request of the registry's, on its way to another process and back. Guarded by Fleet.mu.
type call struct {
	letter   letter    // the request, as it is sent first: from then on it is not changed; its ID names the call
	deadline time.Time // the registry settles it then
	to       *member   // who is to answer; nil: whoever takes it from the queue
	tried    []*member // who had it before
	again    bool      // it may have been executed, and was sent once more
	same     bool      // it may be sent to the one that has just refused it

	published atomic.Bool // to the process that is to answer; written by its outbox without the lock
}

// Codes of the protocol that the fleet itself answers with.
const (
	codeNotFound     = "not_found"
	codeInvalid      = "invalid_request"
	codeInternal     = "internal_error"
	codeDisconnected = "channel_disconnected"
)

func disconnected(channel string) *bus.Fault {
	return &bus.Fault{Code: codeDisconnected, Message: fmt.Sprintf("channel %q: the process that the call waits on has gone", channel)}
}

// unsendable is what a caller gets in place of a reply that the broker does not take.
func unsendable(err error) *bus.Fault {
	return &bus.Fault{Code: codeInternal, Message: "the reply could not be sent: " + err.Error()}
}

// unexecuted reports whether a fault says that no handler has seen the request.
func unexecuted(f *bus.Fault) bool {
	return f != nil && f.Unrouted && (f.Code == codeNotFound || f.Code == codeDisconnected)
}

// request sends a request of the registry's to a process that serves the command. It waits where that one's outbox is
// full. It is called by the link's writer.
func (f *Fleet) request(e *bus.Envelope) error {
	c := f.newCall(e)
	begin := f.begin
	if f.outlives(e) {
		begin = f.beginDurable
	}
	for {
		var fx effects
		f.mu.Lock()
		room := begin(c, &fx)
		f.mu.Unlock()
		f.hand(fx.registry...)
		if room == nil {
			return nil
		}
		select {
		case <-room:
		case <-f.hurry:
			return fmt.Errorf("fleet %q: %w", f.opts.Namespace, bus.ErrClosed)
		case <-f.closing:
			return f.ended()
		}
	}
}

// tryRequest is request where it need not wait, and nothing has to be told to the registry, whose pump may be calling.
func (f *Fleet) tryRequest(e *bus.Envelope) bool {
	c := f.newCall(e)
	f.mu.Lock()
	var to *member
	if s := f.services[e.Name]; s != nil && !e.Durable && !s.queued() {
		to = f.pick(c)
	}
	if to == nil || !f.boxOf(to).has(itemRequest) {
		f.mu.Unlock()
		return false
	}
	f.calls[e.ID] = c
	alone := f.prompt != nil && len(to.calls) == 0
	f.send(c, outItem{to: to, kind: itemRequest, helped: alone}, new(effects)) // it has room
	f.mu.Unlock()
	if alone {
		to.box.help()
	}
	return true
}

func (f *Fleet) newCall(e *bus.Envelope) *call {
	return &call{letter: letter{process: f.self, envelope: *e}, deadline: time.Now().Add(orDefault(e.Deadline, f.opts.RequestTTL))}
}

// begin picks a process and sends the call there, or answers it. It returns what to wait for if there is no room.
// f.mu is held.
func (f *Fleet) begin(c *call, fx *effects) (room <-chan struct{}) {
	to := f.pick(c)
	if to == nil {
		fx.deliver(response(c.letter.envelope.ID, f.nobody(c.letter.envelope.Name)))
		return nil
	}
	if room := f.boxOf(to).full(itemRequest); room != nil {
		return room
	}
	f.calls[c.letter.envelope.ID] = c
	f.send(c, outItem{to: to, kind: itemRequest}, fx)
	return nil
}

// nobody is the answer to a request for a command that no process is known to serve. f.mu is held.
func (f *Fleet) nobody(command string) *bus.Fault {
	if f.err != nil || !f.isReady() || f.inDoubt() {
		return &bus.Fault{Code: codeDisconnected, Message: fmt.Sprintf("channel %q is not connected", f.opts.Channel), Unrouted: true}
	}
	return &bus.Fault{Code: codeNotFound, Message: "command not found: " + command, Unrouted: true}
}

func response(thread string, fault *bus.Fault) bus.Envelope {
	return bus.Envelope{Type: bus.ExecuteResponse, Thread: thread, Fault: fault}
}

// send gives the call to the member that the item goes to. f.mu is held.
func (f *Fleet) send(c *call, it outItem, fx *effects) {
	to := it.to
	c.to = to
	c.published.Store(false)
	if to.calls == nil {
		to.calls = make(map[string]*call)
	}
	to.calls[c.letter.envelope.ID] = c
	f.engage(to)
	l := &c.letter
	if len(c.tried) > 0 { // somebody may still be at that
		again := c.letter
		l = &again
	}
	left := time.Until(c.deadline)
	l.to, l.sent, l.envelope.Deadline = to.session, f.stamp(), max(left, time.Microsecond)
	l.expires = l.sent + left.Microseconds()
	it.letter, it.call, it.expires = l, c, c.deadline
	if !f.boxOf(to).push(it) {
		f.lose(c, fx)
	}
}

// lose ends a call that could not be sent. f.mu is held.
func (f *Fleet) lose(c *call, fx *effects) { f.loseTo(nil, c, fx) }

// loseTo is lose for what the broker has refused. f.mu is held.
func (f *Fleet) loseTo(err error, c *call, fx *effects) {
	f.count.lost.Add(1)
	if errors.Is(err, bus.ErrTooLarge) {
		f.settle(c, response(c.letter.envelope.ID, &bus.Fault{Code: codeInvalid, Message: "the request could not be sent: " + err.Error()}), fx)
		return
	}
	if errors.Is(err, bus.ErrFull) {
		f.settle(c, response(c.letter.envelope.ID, &bus.Fault{Code: codeInternal, Reason: bus.ReasonQueueFull,
			Message: fmt.Sprintf("%s: %v", c.letter.envelope.Name, err)}), fx)
		return
	}
	fault := disconnected(f.opts.Channel)
	if c.to == nil {
		fault.Message = fmt.Sprintf("channel %q: the request could not be put into its queue", f.opts.Channel)
	}
	f.settle(c, response(c.letter.envelope.ID, fault), fx)
}

// leave takes the call from its member. f.mu is held.
func (c *call) leave() {
	if c.to == nil {
		return
	}
	delete(c.to.calls, c.letter.envelope.ID)
}

// settle ends the call with what the registry is told. f.mu is held.
func (f *Fleet) settle(c *call, e bus.Envelope, fx *effects) {
	c.leave()
	delete(f.calls, c.letter.envelope.ID)
	fx.deliver(e)
}

// reroute sends a call whose process does not answer it to another one, if that is allowed: the first has surely not
// executed it, or may have and that does no harm, once. Otherwise it ends with the fault. f.mu is held.
func (f *Fleet) reroute(c *call, fault *bus.Fault, surely bool, fx *effects) {
	c.leave()
	c.tried = append(c.tried, c.to)
	allowed := surely || c.letter.envelope.Idempotent && !c.again
	c.again = c.again || !surely
	var to *member
	if allowed && f.err == nil && time.Now().Before(c.deadline) {
		to = f.pick(c)
		if last := c.tried[len(c.tried)-1]; to == nil && c.same && last != nil && f.members[last.id] == last {
			to = last
		}
	}
	if to == nil {
		if !unexecuted(fault) {
			f.count.lost.Add(1)
		}
		if fault.Unrouted && fault.Code == codeNotFound && !fault.Looped {
			f.untold(c.letter.envelope.Name)
		}
		delete(f.calls, c.letter.envelope.ID)
		fx.deliver(response(c.letter.envelope.ID, fault))
		return
	}
	f.count.rerouted.Add(1)
	f.send(c, outItem{to: to, kind: itemAnswer}, fx)
}

// replied settles the call that a reply belongs to. Only the process that has it may answer. f.mu is held.
func (f *Fleet) replied(l *letter, fx *effects) {
	e := l.envelope
	c := f.calls[e.Thread]
	if c != nil && c.to == nil { // whoever has it from the queue may answer, and go
		f.settle(c, e, fx)
		return
	}
	m := f.memberOf(l)
	if m == nil || c == nil || c.to != m {
		f.count.late.Add(1)
		return
	}
	if !unexecuted(e.Fault) {
		f.settle(c, e, fx)
		return
	}
	if e.Fault.Code == codeNotFound && !e.Fault.Looped && m.shown != nil { // which does not say that no process has it
		f.unserve(m, c.letter.envelope.Name)
		if m.without == nil {
			m.without = make(map[string]bool)
		}
		m.without[c.letter.envelope.Name] = true
		f.inquire(m) // it may only be late in saying so, or have it again
	}
	c.same = l.again
	f.reroute(c, e.Fault, true, fx)
	c.same = false
}

// cancelCall gives a call up, because its caller has left.
func (f *Fleet) cancelCall(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.calls[id]
	if c == nil {
		return
	}
	to := c.to
	c.leave()
	delete(f.calls, id)
	if to == nil {
		return
	}
	f.post(to, &letter{envelope: bus.Envelope{Type: bus.Cancel, Thread: id}})
}

// sweep forgets calls whose deadline has passed long ago: the registry should have said so. f.mu is held.
func (f *Fleet) sweep(now time.Time) {
	for id, c := range f.calls {
		if now.Sub(c.deadline) > f.opts.Lease {
			c.leave()
			delete(f.calls, id)
		}
	}
}

// unsent accounts for messages that could not be published: who waits is told.
func (f *Fleet) unsent(topic string, items []outItem, err error) {
	f.count.unsent.Add(uint64(len(items)))
	f.log.Warn("messages not published", "topic", topic, "messages", len(items), "error", err.Error())
	f.update(func(fx *effects) {
		for _, it := range items {
			if c := it.call; c != nil && c.to == it.to && f.calls[c.letter.envelope.ID] == c {
				f.loseTo(err, c, fx)
			}
		}
	})
}
