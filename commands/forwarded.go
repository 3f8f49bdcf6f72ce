package commands

import (
	"fmt"
	"time"
)

// requestBytes is about what a request takes that is served or forwarded, besides its contents and long names.
const requestBytes = 1024

// forwarded is the requests of one link that were sent on and are not answered
// yet, oldest first. All of it is guarded by the peer's mu.
//
// Each is kept until its caller's deadline, which may be far off: commands have
// TTLs of their own. But what is older than RequestTTL is kept only while there
// is room for it: at most MaxBacklog of them, none while the registry shuts
// down, and none in the place of a new one.
type forwarded struct {
	oldest, newest *route
	n              int
	timer          *time.Timer // sweeps; nil until the first time
	armed          bool        // the timer runs
}

func (f *forwarded) push(rt *route) {
	rt.older = f.newest
	if f.newest != nil {
		f.newest.newer = rt
	} else {
		f.oldest = rt
	}
	f.newest = rt
	f.n++
}

// remove takes rt out, if it is in.
func (f *forwarded) remove(rt *route) bool {
	switch {
	case rt.older == nil && f.oldest != rt:
		return false
	case rt.older == nil:
		f.oldest = rt.newer
	default:
		rt.older.newer = rt.newer
	}
	if rt.newer == nil {
		f.newest = rt.older
	} else {
		rt.newer.older = rt.older
	}
	rt.older, rt.newer = nil, nil
	f.n--
	return true
}

// overdue takes out the oldest while there are more than keep, and they were
// forwarded before.
func (f *forwarded) overdue(keep int, before time.Time) (given []*route) {
	for f.n > keep && !f.oldest.at.After(before) {
		rt := f.oldest
		f.remove(rt)
		given = append(given, rt)
	}
	return given
}

// unlist takes rt out, and counts its bytes out. p.mu is held.
func (p *peer) unlist(rt *route) {
	if p.forwarded.remove(rt) {
		p.held -= rt.cost
	}
}

// roomToForward says whether one more request may be forwarded: running, if so.
// Where there is no room, the oldest that is overdue makes some.
func (p *peer) roomToForward(rt *route) placement {
	p.mu.Lock()
	if p.closed || p.in.get(rt.serving.id, rt.serving.hash) != nil {
		p.mu.Unlock()
		return moot
	}
	var given []*route
	got := running
	if p.forwarded.n >= p.r.cfg.MaxForwarded {
		given = p.forwarded.overdue(p.forwarded.n-1, rt.at.Add(-p.r.cfg.RequestTTL))
		p.uncount(given)
	}
	if p.forwarded.n >= p.r.cfg.MaxForwarded || p.tooMuch(rt.cost) {
		got = overloaded
	}
	p.mu.Unlock()
	p.giveUp(given)
	return got
}

// uncount counts out the bytes of routes that were taken out of the list. p.mu is held.
func (p *peer) uncount(given []*route) {
	for _, rt := range given {
		p.held -= rt.cost
	}
}

// keep is how many forwarded requests may be overdue.
func (p *peer) keep() int {
	if p.r.leaving.Load() {
		return 0
	}
	return p.r.cfg.MaxBacklog
}

// sweepLater starts the timer, if one of the forwarded requests may become one
// too many by getting old. p.mu is held.
func (p *peer) sweepLater() {
	f := &p.forwarded
	if f.armed || p.closed || f.n <= p.keep() {
		return
	}
	ttl := p.r.cfg.RequestTTL
	wait := max(time.Until(f.oldest.at.Add(ttl)), ttl/8) // not for each one by itself
	f.armed = true
	if f.timer == nil {
		f.timer = time.AfterFunc(wait, p.sweepTimer)
	} else {
		f.timer.Reset(wait)
	}
}

func (p *peer) sweepTimer() {
	p.mu.Lock()
	p.forwarded.armed = false
	p.mu.Unlock()
	p.sweep()
}

// sweep gives up the forwarded requests that are overdue and too many.
func (p *peer) sweep() {
	p.mu.Lock()
	given := p.forwarded.overdue(p.keep(), time.Now().Add(-p.r.cfg.RequestTTL))
	p.uncount(given)
	p.sweepLater()
	p.mu.Unlock()
	p.giveUp(given)
	if len(given) > 0 {
		p.r.log.Warn("forwarded requests given up, no answer within RequestTTL", "channel", p.link.ID(), "requests", len(given))
	}
}

// giveUp ends forwarded requests that were taken out of the list.
func (p *peer) giveUp(given []*route) {
	for _, rt := range given {
		if !rt.to.out.drop(&rt.exchange) {
			continue // it is being answered
		}
		p.r.stats.overdue.Add(1)
		rt.to.cancelled(&rt.exchange)
		rt.settle(outcome{err: &Error{Code: Timeout, Command: rt.command,
			Message: fmt.Sprintf("%s: no reply within %v, and the registry on the way has no room to wait longer", rt.command, p.r.cfg.RequestTTL)}})
	}
}

// overloaded refuses a request for which there is no room, and counts it.
func (p *peer) overloaded(id, why string) {
	p.r.stats.refused.Add(1)
	f := (&Error{Code: Internal, Message: "overloaded: " + why}).fault()
	p.refuse(id, f)
}
