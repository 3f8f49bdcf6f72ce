package commands

import (
	"errors"
	"time"

	"github.com/leatbus/leat/bus"
)

// attempt is one registration sent to the router.
type attempt struct {
	exchange
	up    *uplink
	claim *claim
	cmd   *command
	was   bool      // guarded by r.mu: claim.told before it
	sent  time.Time // guarded by r.mu: when it was last sent
	twice bool      // guarded by r.mu: it was sent before
	asked bool      // guarded by r.mu: it was sent again because the router had not answered for a while
}

// run sends what is due. It must not be called with r.mu held, nor by what it calls.
func (up *uplink) run() {
	up.to.turn.Lock()
	defer up.to.turn.Unlock()
	for budget := up.window; budget > 0; {
		up.r.mu.Lock()
		c, a := up.next()
		up.r.mu.Unlock()
		switch {
		case c == nil:
			return
		case a == nil:
			budget-- // a withdrawal is not acknowledged: the timer paces them
			if err := up.to.link.Send(bus.Envelope{Type: bus.Withdraw, Name: c.id}); err != nil {
				up.unsaid(c, err)
				return
			}
		default:
			if err := a.send(); err != nil && !up.unsent(a, err) {
				return
			}
		}
	}
	up.r.mu.Lock()
	defer up.r.mu.Unlock()
	up.arm(time.Now().Add(pace))
}

// pace is the pause of an uplink that has withdrawn very much, crowded of one whose link has no room.
const (
	pace    = 2 * time.Millisecond
	crowded = 10 * time.Millisecond
)

// next returns a claim that is to be withdrawn, or one and the attempt to
// register it; nil when there is nothing to do now.
func (up *uplink) next() (*claim, *attempt) {
	for c := up.leaving.pop(); c != nil; c = up.leaving.pop() {
		c.leaving = false
		if c.dead || up.wanted(c.id) != nil {
			continue
		}
		if !up.to.link.Understands(bus.CanWithdraw) {
			if up.to.met {
				up.forget(c)
			} // else it is withdrawn when the router has said what it understands
			continue
		}
		up.forget(c)
		return c, nil
	}
	for len(up.again) > 0 {
		a := up.again[0]
		up.again = up.again[1:]
		if _, flies := up.flying[a]; flies {
			a.sent, a.twice = time.Now(), true
			return a.claim, a
		}
	}
	for !up.closed && len(up.flying) < up.window {
		c := up.ready.pop()
		if c == nil {
			break
		}
		c.ready = false
		want := up.wanted(c.id)
		if c.dead || want == nil || c.attempt != nil || c.scheduled() || want.same(c.acked) || want.same(c.refused) {
			continue
		}
		if c.tries > 0 && up.to.link.Absent() { // the first one is held, and goes when it comes; more would only fill the queue
			c.ready = true
			up.ready.unpop(c)
			break
		}
		a := &attempt{exchange: exchange{command: c.id}, up: up, claim: c, cmd: want, was: c.told, sent: time.Now()}
		a.owner = a
		if !up.to.begin(&a.exchange, "", up.deadline(c)) {
			break // the link has closed
		}
		c.attempt, c.told = a, true
		up.fly(a)
		return c, a
	}
	return nil, nil
}

// patience is how long an attempt that no Register call waits for may take, if RequestTTL is not longer. A link may be slower
// than RequestTTL, and an answer that came too late would never be heard: what is lost is sent again long before, see probe.
const patience = 30 * time.Second

// deadline is that of the next attempt.
func (up *uplink) deadline(c *claim) time.Time {
	if res := up.r.reserved[c.id]; res != nil && res.done != nil {
		return res.deadline
	}
	return time.Now().Add(max(patience, up.r.cfg.RequestTTL))
}

// release gives up the attempt of a claim, if there is one.
func (up *uplink) release(c *claim) {
	if c.attempt == nil {
		return
	}
	up.to.out.drop(&c.attempt.exchange) // else it is being settled, and finds itself given up
	delete(up.flying, c.attempt)
	c.attempt = nil
}

func (a *attempt) send() error {
	def, r := a.cmd.def, a.up.r
	return a.to.link.Send(bus.Envelope{ID: a.id, Type: bus.RegisterRequest, Body: encodeDefinitions(def), Durable: def.Durable, Key: a.cmd.path.through(r.token)})
}

// unsaid takes back that a command was withdrawn.
func (up *uplink) unsaid(c *claim, err error) {
	r := up.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if up.closed || !errors.Is(err, bus.ErrFull) {
		return
	}
	if other := up.claims[c.id]; other != nil {
		other.told = true
	} else {
		up.claims[c.id] = &claim{id: c.id, told: true}
	}
	up.look(c.id)
	up.arm(time.Now().Add(crowded))
}

// unsent accounts for a registration that the link did not take. It reports whether others may do better.
func (up *uplink) unsent(a *attempt, err error) bool {
	if !up.to.out.drop(&a.exchange) {
		return true // settled meanwhile
	}
	r := up.r
	r.mu.Lock()
	defer r.mu.Unlock()
	c := a.claim
	if up.closed || c.attempt != a {
		return true
	}
	if !a.twice {
		c.told = a.was
	}
	if !errors.Is(err, bus.ErrFull) {
		up.settled(a, sendFailure(a.command, up.to, err), true)
		return true
	}
	delete(up.flying, a)
	c.attempt = nil
	c.ready = true
	up.ready.unpop(c)
	up.arm(time.Now().Add(crowded))
	return false
}

// settle takes the router's answer, or that there is none. It installs the
// command on an ack, right where the ack is read, so that a call which comes
// behind it finds the command.
func (a *attempt) settle(o outcome) {
	r := a.up.r
	err := o.failed(a.command)
	r.mu.Lock()
	if !a.up.closed && a.claim.attempt == a {
		a.up.settled(a, err, o.err != nil)
	}
	r.mu.Unlock()
	r.converge()
}

// settled is settle with r.mu held. here says that err is not the router's answer.
func (up *uplink) settled(a *attempt, err *Error, here bool) {
	r, c := up.r, a.claim
	delete(up.flying, a)
	c.attempt = nil
	if !here {
		up.answered(a)
	}
	if err == nil {
		c.acked, c.tries, c.refused = a.cmd, 0, nil
		up.fail(c, nil)
		if res := r.reserved[c.id]; res != nil {
			r.fulfil(res)
		}
		up.answer(c, a.cmd, nil)
		up.consider(c)
		up.retryNow(2) // what is tried again fares better now
		return
	}
	switch {
	case here: // it may have taken it, or take it yet
	case err.Code == DuplicateCommand:
		c.acked, c.told = nil, a.twice // the router may take the second one yet
	default:
		c.told = a.was || a.twice
	}
	if err.Code == InvalidRequest {
		c.refused = a.cmd
	}
	res := r.reserved[c.id]
	if res == nil || err.final() || res.done != nil || res.child.tells() {
		up.answer(c, a.cmd, err)
		if res != nil {
			r.abandon(res, err)
		}
	}
	if up.wanted(c.id) != nil {
		up.refuse(c, err)
	}
	up.consider(c)
}

// refuse schedules another attempt for what has failed and is still wanted.
func (up *uplink) refuse(c *claim, err *Error) {
	known := c.conflicting()
	up.fail(c, err)
	if c.conflicting() && !known {
		up.r.stats.conflicts.Add(1)
	}
	if n := up.r.refusals + 1; !known || err.Code != DuplicateCommand {
		if up.r.refusals = n; n&(n-1) == 0 {
			up.r.notices = append(up.r.notices, notice{refused: c.id, times: n, err: err})
		}
	}
	if c.refused == nil {
		up.retry(c, err)
	}
}

// tells reports whether the peer can be told why a registration has failed, if not for a conflict.
func (p *peer) tells() bool { return p.link.Understands(bus.CanWithdraw) }

// final reports whether a registration that was refused so is not worth another attempt by itself.
func (e *Error) final() bool { return e.Code == DuplicateCommand || e.Code == InvalidRequest }

// fifo is a queue of claims.
type fifo struct {
	items []*claim
	head  int // the first one's place
}

func (f *fifo) push(c *claim) { f.items = append(f.items, c) }

// unpop puts the claim back that was popped last.
func (f *fifo) unpop(c *claim) {
	if f.head > 0 {
		f.head--
		f.items[f.head] = c
		return
	}
	f.items = append([]*claim{c}, f.items...)
}

// pop returns nil when it is empty.
func (f *fifo) pop() *claim {
	if f.head == len(f.items) {
		*f = fifo{}
		return nil
	}
	c := f.items[f.head]
	f.items[f.head] = nil
	f.head++
	if f.head > 1024 && f.head > len(f.items)/2 { // what follows moves to the front
		f.items = append(f.items[:0:0], f.items[f.head:]...)
		f.head = 0
	}
	return c
}
