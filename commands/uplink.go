package commands

import (
	"errors"
	"slices"
	"time"

	"github.com/leatbus/leat/bus"
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
	retries   retries
	conflicts int // claims that the router has refused because another has the ID
	timer     *time.Timer
	armed     time.Time // when the timer fires; zero: it does not
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

	at    time.Time // in retries: when it is tried again
	index int       // in retries: position+1; 0: not in it
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
	case c.index == 0 && !c.ready:
		c.ready = true
		up.ready.push(c)
	}
}

// hurry tries at once what waits to be tried again.
func (up *uplink) hurry(id string) {
	if c := up.claims[id]; c != nil && c.index > 0 {
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
			budget-- // nobody acknowledges a withdrawal: the timer paces them
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

// pace is the pause of an uplink that has sent very much, or whose link has no room.
const pace = 2 * time.Millisecond

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
		if c.dead || want == nil || c.attempt != nil || c.index > 0 || want.same(c.acked) || want.same(c.refused) {
			continue
		}
		a := &attempt{exchange: exchange{command: c.id}, up: up, claim: c, cmd: want, was: c.told, sent: time.Now()}
		a.owner = a
		if !up.to.begin(&a.exchange, bus.NewID(), up.deadline(c)) {
			break // the link has closed
		}
		c.attempt, c.told = a, true
		up.fly(a)
		return c, a
	}
	return nil, nil
}

// deadline is that of the next attempt.
func (up *uplink) deadline(c *claim) time.Time {
	if res := up.r.reserved[c.id]; res != nil && res.done != nil {
		return res.deadline
	}
	return time.Now().Add(up.r.cfg.RequestTTL)
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
	return a.to.link.Send(bus.Envelope{ID: a.id, Type: bus.RegisterRequest, Body: encodeDefinitions(def), Durable: def.Durable, Path: a.cmd.path.through(r.token)})
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
	up.arm(time.Now().Add(pace))
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
	up.arm(time.Now().Add(pace))
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
		c.acked, c.told = nil, false
	default:
		c.told = a.was
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

// close ends the uplink, and says so to those who wait for the router. It returns what is to be done about
// children that cannot be told: their commands are served without a router.
func (up *uplink) close(cause error) {
	r := up.r
	up.closed = true
	if up.timer != nil {
		up.timer.Stop()
	}
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
