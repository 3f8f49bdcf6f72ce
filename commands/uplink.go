package commands

import (
	"slices"
	"time"
)

// uplink reconciles two sets, for as long as the link to the router lives: the
// public commands that this registry serves, itself or for its children
// (wanted), and those that the router has acknowledged (claims). It goes by
// what the two sets are, never by what has just happened to them: whatever
// changes a wanted command calls [uplink.look], and whatever was refused or
// lost is tried again, until both agree. A new link to the router starts with
// nothing acknowledged.
//
// Its methods need r.mu, but for run, which takes the peer's turn and then r.mu.
type uplink struct {
	r  *Registry
	to *peer

	closed    bool
	claims    map[string]*claim
	ready     fifo                  // claims to be registered, as the window allows
	leaving   fifo                  // claims to be withdrawn
	flying    map[*attempt]struct{} // registrations that are not answered
	window    int                   // the most of those
	again     []*attempt            // of those: to be sent once more
	heard     time.Time             // when the router last answered one, or was sent one when there were none
	stalls    int                   // how often it was asked again since
	retries   schedule[*claim]      // claims to be tried again
	conflicts int                   // claims that the router has refused because another has the ID
	alarm     alarm
}

// maxWindow bounds the registrations under way at once, so that a registry
// with very many commands does not fill the queues of the link.
const maxWindow = 256

// claim is what is known of the router's mind about one command ID.
type claim struct {
	id      string
	acked   *command // what it has acknowledged; nil: nothing
	told    bool     // it may have the command: it must be told when that goes
	attempt *attempt // the registration that it has not answered; or nil
	failed  *Error   // how the last attempt ended; nil: well
	refused *command // what it will never take; or nil
	waiters []waiter // children whose registration waits for its answer
	tries   int      // attempts that have failed in a row

	ready, leaving, dead bool // in these queues; not in claims any more

	slot // in retries: when it is tried again
}

// waiter is a child's registration that is answered when the router has.
type waiter struct {
	child  *peer
	thread string
	cmd    *command
}

// maxWaiters bounds the unanswered registrations of one ID: a child that says the same again and again
// hears of the last ones.
const maxWaiters = 16

func newUplink(p *peer) *uplink {
	return &uplink{
		r: p.r, to: p,
		claims: make(map[string]*claim),
		flying: make(map[*attempt]struct{}),
		window: min(maxWindow, (p.r.bus.Options().QueueSize+1)/2),
	}
}

// wanted returns what the router is to know about an ID, nil for nothing. r.mu is held.
func (up *uplink) wanted(id string) *command {
	if res := up.r.reserved[id]; res != nil {
		return res.cmd
	}
	cmd := up.r.lookup(id)
	if cmd == nil || cmd.owner == up.to || cmd.owner != nil && !cmd.registered || isPrivate(id) {
		return nil
	}
	return cmd
}

// begin claims all that was there before the router.
func (up *uplink) begin() {
	up.r.table.Range(func(id, _ any) bool {
		up.look(id.(string))
		return true
	})
}

// look is to be called whenever what is wanted for an ID may have changed.
func (up *uplink) look(id string) {
	c := up.claims[id]
	if c == nil {
		if up.closed || up.wanted(id) == nil {
			return
		}
		c = &claim{id: id}
		up.claims[id] = c
	}
	up.consider(c)
}

// listed notes that the router may have found a local command in a list, which it has asked for before that was
// registered with it.
func (up *uplink) listed(id string) {
	if isPrivate(id) {
		return
	}
	c := up.claims[id]
	if c == nil {
		c = &claim{id: id}
		up.claims[id] = c
	}
	c.told = true
}

// lose notes that the router is about to forget a command.
func (up *uplink) lose(id string) {
	if c := up.claims[id]; c != nil {
		up.release(c)
		c.acked = nil
		up.consider(c)
	}
}

// consider queues what there is to do about a claim.
func (up *uplink) consider(c *claim) {
	if c.dead {
		return
	}
	want := up.wanted(c.id)
	switch {
	case want == nil:
		up.release(c)
		c.acked, c.waiters = nil, nil // it is told anew, also if the same command is wanted again
		if !c.told {
			up.forget(c)
		} else if !c.leaving {
			c.leaving = true
			up.leaving.push(c)
		}
	case c.attempt != nil: // looked at when it is answered
	case want.same(c.acked):
		up.answer(c, want, nil)
	case want.same(c.refused):
		up.answer(c, want, c.failed)
	case !c.scheduled() && !c.ready:
		c.ready = true
		up.ready.push(c)
	}
}

// hurry tries at once what waits to be tried again.
func (up *uplink) hurry(id string) {
	if c := up.claims[id]; c != nil && c.scheduled() {
		up.retries.remove(c)
		up.consider(c)
	}
}

// forget drops a claim that the router knows nothing of.
func (up *uplink) forget(c *claim) {
	up.fail(c, nil)
	up.retries.remove(c)
	delete(up.claims, c.id)
	c.dead = true
}

// fail notes how the last attempt ended.
func (up *uplink) fail(c *claim, err *Error) {
	if c.conflicting() {
		up.conflicts--
	}
	if c.failed = err; c.conflicting() {
		up.conflicts++
	}
}

func (c *claim) conflicting() bool { return c.failed != nil && c.failed.Code == DuplicateCommand }

// answer tells the children that have registered cmd how it went.
func (up *uplink) answer(c *claim, cmd *command, err *Error) {
	kept := c.waiters[:0]
	for _, w := range c.waiters {
		if err == nil && !w.cmd.same(cmd) { // it has registered another one since
			kept = append(kept, w)
			continue
		}
		up.r.notices = append(up.r.notices, notice{child: w.child, thread: w.thread, err: err})
	}
	clear(c.waiters[len(kept):])
	if c.waiters = kept; len(kept) == 0 {
		c.waiters = nil
	}
}

// wait makes a child's registration wait for the router's answer.
func (up *uplink) wait(w waiter) {
	up.look(w.cmd.def.ID)
	c := up.claims[w.cmd.def.ID]
	if i := slices.IndexFunc(c.waiters, func(o waiter) bool { return o.child == w.child && o.thread == w.thread }); i >= 0 {
		c.waiters = slices.Delete(c.waiters, i, i+1)
	}
	if len(c.waiters) == maxWaiters {
		c.waiters = append(c.waiters[:0], c.waiters[1:]...)
	}
	c.waiters = append(c.waiters, w)
	if a := c.attempt; a != nil && time.Since(a.sent) >= firstStall/2 {
		up.repeat(a) // the child has not heard of it for a while, and asks again
	}
	up.hurry(c.id)
	up.consider(c)
}

// left forgets the registrations of a child that has gone, or has withdrawn the ID.
func (up *uplink) left(id string, child *peer) {
	if c := up.claims[id]; c != nil {
		kept := c.waiters[:0]
		for _, w := range c.waiters {
			if w.child != child {
				kept = append(kept, w)
			}
		}
		clear(c.waiters[len(kept):])
		c.waiters = kept
	}
	up.look(id)
}

// meet withdraws what could not be withdrawn before the handshake.
func (up *uplink) meet() {
	for _, c := range up.claims {
		if up.wanted(c.id) == nil {
			up.consider(c)
		}
	}
}

// resend says again what a router that has come late may not have heard, under the same
// IDs: the first answer counts. r.mu is held.
func (up *uplink) resend() {
	for a := range up.flying {
		up.repeat(a)
	}
}

// close ends the uplink, and fails what waits for the router. It returns what is to be done about
// children that cannot be told: their commands are served without a router.
func (up *uplink) close(cause error) {
	r := up.r
	up.closed = true
	up.alarm.stop()
	for id, c := range up.claims {
		err := disconnected(id, up.to.link.ID(), cause)
		if res := r.reserved[id]; res == nil || res.done == nil && !res.child.tells() {
			err = nil // without a router it is registered here
			if res != nil {
				r.fulfil(res)
			}
		} else {
			r.abandon(res, err)
		}
		for _, w := range c.waiters {
			r.notices = append(r.notices, notice{child: w.child, thread: w.thread, err: err})
		}
	}
	up.claims, up.ready, up.leaving, up.retries, up.flying, up.again, up.conflicts = nil, fifo{}, fifo{}, nil, nil, nil, 0
}
