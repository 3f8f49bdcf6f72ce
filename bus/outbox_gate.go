package bus

import "github.com/leatbus/leat/internal/gate"

// outboxMutex is a mutex with a way past it: while nothing is queued or waits in the outbox, a sender enters the gate and
// hands its message over without locking anything. For those that lock it meanwhile a message is being published.
type outboxMutex struct {
	gate   gate.Gate
	outbox *outbox
}

func (m *outboxMutex) Lock() {
	if m.gate.Lock() {
		m.outbox.busy = true
	}
}

func (m *outboxMutex) Unlock() { m.gate.Unlock(m.outbox.idle()) }

// idle reports whether the outbox is open, holds nothing, and nothing waits for it. o.mu is held.
func (o *outbox) idle() bool {
	return !o.busy && !o.closed && !o.queued() && o.total() == 0 &&
		o.handlers.empty() && o.callers.empty() && o.room.open == nil && o.room.full.IsZero()
}

// pass enters the gate. It is for requests and replies only, since what passes has no number. The sender calls passed then.
func (o *outbox) pass() bool { return o.mu.gate.Enter() }

// passed leaves the gate. taken says that the peer has the message.
func (o *outbox) passed(taken bool) {
	if o.mu.gate.Leave(taken) {
		return
	}
	o.busy = false
	if o.queued() || o.closed {
		o.unlock()
		return
	}
	o.mu.Unlock()
}

// taken returns how many messages have been published. o.mu is held.
func (o *outbox) taken() uint64 { return o.stall.taken + o.mu.gate.Passed() }
