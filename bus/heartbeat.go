package bus

import (
	"fmt"
	"time"
)

const (
	// patience is after how many heartbeats without a word a peer is gone.
	patience = 3
	// measureEvery is the number of heartbeats after which the clocks are compared
	// again, also where so much is sent that there is no need of a ping.
	measureEvery = 16
	// minBeat bounds what a peer may ask for.
	minBeat = 10 * time.Millisecond
)

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

// ping sends one if it is time and none is queued, and returns when to look again. What waits to
// be published is a sign of life too.
func (p *presence) ping(now, pace time.Duration) time.Duration {
	idle := now - time.Duration(p.sent.Load())
	due := p.clock.due(now, measureEvery*pace)
	if (due || idle >= pace && p.link.out.len() == 0) && p.pinging.CompareAndSwap(false, true) {
		if p.link.Send(Envelope{Type: Ping}) != nil {
			p.pinging.Store(false)
		}
	}
	if idle >= pace {
		return pace
	}
	return pace - idle
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
