package bus

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
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

	mu       sync.Mutex
	open     bool          // guarded by mu: nothing is held any more
	lost     bool          // guarded by mu: nothing can be held any more: the link ends
	stopped  bool          // guarded by mu: no more heartbeats: likewise
	held     []outItem     // guarded by mu: see hold.go
	greeting bool          // guarded by mu: a greeting is queued
	greeters []greeter     // guarded by mu: who has said hello lately, the last one last
	pace     time.Duration // guarded by mu: the shorter one of both sides' heartbeats
	timer    *time.Timer   // guarded by mu: of the heartbeats; nil while there are none
}

// greeter is one who has said hello, and is to be answered by name.
type greeter struct {
	thread  string
	session string
	stamp   stamp
	at      time.Duration // since the start
}

const (
	// patience is after how many heartbeats without a word a peer is gone.
	patience = 3
	// measureEvery is the number of heartbeats after which the clocks are compared
	// again, also where so much is sent that there is no need of a ping.
	measureEvery = 16
	// minBeat bounds what a peer may ask for.
	minBeat = 10 * time.Millisecond
	// maxGreeters bounds the answers that may be under way.
	maxGreeters = 16
	// greetingPause is the time in which one session is answered once: a broker
	// may hand out a day's greetings at once.
	greetingPause = 100 * time.Millisecond
)

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

// since is the time since the link was made, by a clock that nobody sets.
func (p *presence) since() time.Duration { return time.Since(p.start) }

// micros is the time that the peer is told.
func (p *presence) micros() int64 { return p.wall().UnixMicro() }

// announced is what this side says that it understands.
func (l *Link) announced() Features {
	if l.presence != nil && l.presence.beat > 0 {
		return allFeatures | CanPing
	}
	return allFeatures
}

// admit decides whether what was received is to be looked at. It runs on the
// pump, before everything else. An error rejects the message.
func (p *presence) admit(d *Delivery) (bool, error) {
	e, md := &d.Envelope, d.Message.Metadata
	id, ok := md[keySession]
	if !ok {
		return p.plain(e.Type), nil
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
	v := p.judge(from, md[keyPeer], e.Type)
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

// plain takes what a peer without sessions sends as it is, but for the goodbye
// of who is not the one that the link speaks to.
func (p *presence) plain(t Type) bool {
	if t == Goodbye && p.peer.Load() != nil {
		p.link.stats.stale.Add(1)
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release()
	return true
}

// greet notes whom the answer is for. It drops what the same session says
// again at once. p.mu is held.
func (p *presence) greet(g greeter, v verdict) verdict {
	for _, old := range p.greeters {
		if old.session == g.session && g.at-old.at < greetingPause {
			return stale
		}
	}
	if len(p.greeters) == maxGreeters {
		p.greeters = append(p.greeters[:0], p.greeters[1:]...)
	}
	p.greeters = append(p.greeters, g)
	return v
}

// answer addresses a list to whoever has asked for it. p.mu is held.
func (p *presence) answer(md message.Metadata, thread string) {
	for _, g := range p.greeters {
		if g.thread == thread {
			md[keyPeer] = g.session
			g.stamp.put(md)
			return
		}
	}
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
	p.pace = max(minBeat, min(p.beat, beat))
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

var errLate = errors.New("request outlived its caller before it was published")

// stamp writes the sessions and times into a message that is about to leave.
func (p *presence) stamp(it *outItem) error {
	md := it.msg.Metadata
	if md == nil {
		md = make(message.Metadata)
		it.msg.Metadata = md
	}
	md[keySession] = p.session.id
	switch it.typ {
	case ListRequest:
		p.mu.Lock()
		p.greeting = false
		p.mu.Unlock()
		p.putGreeting(md)
		return nil
	case ListResponse:
		if _, answer := md[keyEcho]; answer {
			p.putGreeting(md)
		}
	case Ping:
		p.clock.put(md, p.micros())
	case ExecuteRequest:
		if it.life > 0 {
			left := it.life - time.Since(it.born)
			if left <= 0 {
				return errLate
			}
			md[keyDeadline] = strconv.FormatInt(max(1, left.Microseconds()), 10)
			md[keyExpires] = strconv.FormatInt(p.micros()+left.Microseconds(), 10)
		}
	}
	if md[keyPeer] == "" {
		if to := p.recipient(it.typ); to != "" {
			md[keyPeer] = to
		}
	}
	return nil
}

func (p *presence) putGreeting(md message.Metadata) {
	md[keySent] = strconv.FormatInt(p.micros(), 10)
	if p.beat > 0 {
		md[keyBeat] = strconv.FormatInt(p.beat.Microseconds(), 10)
	}
}

// recipient is the session that a message is for. A goodbye goes to whoever
// may know this side, though this side does not know yet.
func (p *presence) recipient(t Type) string {
	if peer := p.peer.Load(); peer != nil {
		return peer.id
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.greeters); t == Goodbye && n > 0 {
		return p.greeters[n-1].session
	}
	return ""
}

// tick runs when it may be time for a ping, or for the end.
func (p *presence) tick() {
	l, now := p.link, p.since()
	p.mu.Lock()
	next := p.pace
	p.mu.Unlock()
	if l.Understands(CanPing) {
		heard := time.Duration(p.heard.Load())
		if now-heard >= patience*p.beat {
			l.peerClosed(fmt.Errorf("%w: peer not heard of for %s", ErrPeerClosed, (now - heard).Round(time.Millisecond)))
			return
		}
		next = min(p.ping(now, next), heard+patience*p.beat-now)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.timer.Reset(next)
	}
}

// ping sends one if it is time, and returns when to look again. What waits to
// be published is a sign of life too, and a full queue takes no ping.
func (p *presence) ping(now, pace time.Duration) time.Duration {
	idle := now - time.Duration(p.sent.Load())
	due := p.clock.due(now, measureEvery*pace)
	if due || idle >= pace && p.link.out.len() == 0 {
		_ = p.link.Send(Envelope{Type: Ping})
	}
	if idle >= pace {
		return pace
	}
	return pace - idle
}

// due reports whether the clock is to be measured, and notes that it will be.
func (c *clock) due(now, every time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now-c.sent < every {
		return false
	}
	c.sent = now
	return true
}

// stop ends the heartbeats.
func (p *presence) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	if p.timer != nil {
		p.timer.Stop()
	}
}
