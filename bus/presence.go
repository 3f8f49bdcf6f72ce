package bus

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// presence is what a link knows of whether its peer is there, and which life
// of it: see [Channel.Heartbeat]. Links without have none, and pay nothing.
type presence struct {
	link    *Link
	session session
	beat    time.Duration    // 0: no heartbeats
	wall    func() time.Time // what the peer is told, and nothing else
	start   time.Time        // what sent and heard count from

	peer  atomic.Pointer[session] // confirmed; nil while unknown
	sent  atomic.Int64            // when something was last published, since start
	heard atomic.Int64            // when the confirmed peer was last heard of, since start
	clock clock

	pinging atomic.Bool // a ping is queued

	mu       sync.Mutex
	open     bool          // guarded by mu: nothing is held any more
	lost     bool          // guarded by mu: nothing can be held any more: the link ends
	stopped  bool          // guarded by mu: no more heartbeats: likewise
	held     []outItem     // guarded by mu: see hold.go
	greeting bool          // guarded by mu: a greeting is queued
	greeters []greeter     // guarded by mu: the peers that have said hello lately, the last one last
	hellos   []string      // guarded by mu: IDs of this side's last greetings
	plain    plainness     // guarded by mu: what is known of a peer that names no session
	pace     time.Duration // guarded by mu: the shorter one of both sides' heartbeats
	timer    *time.Timer   // guarded by mu: of the heartbeats; nil while there are none
}

var errRestarted = fmt.Errorf("%w: peer restarted", ErrPeerClosed)

// newPresence returns nil for a channel that has none.
func newPresence(l *Link) *presence {
	if l.ch.Heartbeat == 0 || l.ch.InProcess {
		return nil
	}
	p := &presence{link: l, session: l.bus.newSession(), beat: max(0, l.ch.Heartbeat), wall: time.Now, start: time.Now()}
	if l.bus.wall != nil {
		p.wall = l.bus.wall
	}
	p.pace = p.beat
	return p
}

// since is the time since the link was made, by a clock that cannot be set.
func (p *presence) since() time.Duration { return time.Since(p.start) }

// micros is the time that the peer is told.
func (p *presence) micros() int64 { return p.wall().UnixMicro() }

// announced is what this side says that it understands.
func (l *Link) announced() Features {
	switch {
	case l.presence != nil && l.presence.beat > 0:
		return allFeatures | CanPing
	case l.SameProcess():
		return allFeatures | CanGroup
	}
	return allFeatures
}

// admit decides whether what was received is to be looked at. It runs on the
// pump, before everything else. An error rejects the message.
func (p *presence) admit(d *Delivery) (bool, error) {
	e, md := &d.Envelope, d.Message.Metadata
	id, ok := md[keySession]
	if !ok {
		return p.admitPlain(e), nil
	}
	from, err := parseSession(id)
	if err != nil {
		return false, err
	}
	beat, err := parseTime(md, keyBeat)
	if err != nil {
		return false, err
	}
	now := p.micros()
	p.mu.Lock()
	v := p.judge(from, md[keyPeer], e.Type, now)
	if e.Type == ListRequest && (v == greeted || v == current || v == confirmed) {
		sent, err := parseTime(md, keySent)
		if err != nil {
			p.mu.Unlock()
			return false, err
		}
		v = p.greet(greeter{e.ID, id, stamp{sent, now}, p.since()}, v)
	}
	if v == confirmed {
		p.confirm(from)
	}
	if beat > 0 && v > restarted {
		p.agree(time.Duration(beat) * time.Microsecond)
	}
	p.mu.Unlock()
	switch v {
	case stale:
		p.link.stats.stale.Add(1)
		return false, nil
	case restarted:
		p.link.peerClosed(errRestarted)
		return false, nil
	case current, confirmed:
		p.heard.Store(int64(p.since()))
		return p.timed(d, now)
	}
	p.link.greetBack()
	return true, nil
}

// confirm makes s the peer of this link. p.mu is held.
func (p *presence) confirm(s session) {
	p.peer.Store(&s)
	p.heard.Store(int64(p.since()))
	p.release()
	if p.beat > 0 && !p.stopped && p.timer == nil {
		p.timer = time.AfterFunc(p.pace, p.tick)
	}
}

// agree takes the peer's heartbeat into account: it waits for a sign of life
// that often. p.mu is held.
func (p *presence) agree(beat time.Duration) {
	if p.beat == 0 {
		return
	}
	p.pace = min(p.beat, max(minBeat, beat))
	if p.timer != nil && !p.stopped {
		p.timer.Reset(p.pace)
	}
}

// timed looks at the times that a message of the peer carries.
func (p *presence) timed(d *Delivery, now int64) (bool, error) {
	e, md := &d.Envelope, d.Message.Metadata
	switch e.Type {
	case ListResponse, Ping:
		return true, p.clock.take(md, now)
	case Event:
		return p.takeAge(e, md, now)
	case ExecuteRequest:
		expires, err := parseTime(md, keyExpires)
		if err != nil || expires == 0 {
			return err == nil, err
		}
		left, known := p.clock.remaining(expires, now)
		if known && left <= 0 {
			p.link.stats.expired.Add(1)
			return false, nil
		}
		if known && (e.Deadline == 0 || left < e.Deadline) {
			e.Deadline = left
		}
	}
	return true, nil
}
