package bus

import (
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// greeter is a peer that has said hello, and is to be answered by name.
type greeter struct {
	thread  string
	session string // empty: it has named none
	stamp   stamp
	at      time.Duration // since the start
}

const (
	// maxGreeters bounds the answers that may be under way.
	maxGreeters = 16
	// greetingPause is the time in which one session is answered once: a broker
	// may hand out a day's greetings at once.
	greetingPause = 100 * time.Millisecond
)

// greet notes whom the answer is for. It drops what the same session says
// again at once. p.mu is held.
func (p *presence) greet(g greeter, v verdict) verdict {
	for _, old := range p.greeters {
		if old.session == g.session && g.at-old.at < greetingPause {
			return stale
		}
	}
	p.addGreeter(g)
	return v
}

// addGreeter forgets the oldest one where there are too many. p.mu is held.
func (p *presence) addGreeter(g greeter) {
	if len(p.greeters) == maxGreeters {
		p.greeters = append(p.greeters[:0], p.greeters[1:]...)
	}
	p.greeters = append(p.greeters, g)
}

// answer addresses a list to the session that has asked for it, and reports whether one has. p.mu is held.
func (p *presence) answer(md message.Metadata, thread string) bool {
	for _, g := range p.greeters {
		if g.thread != thread {
			continue
		}
		if g.session != "" {
			md[keyPeer] = g.session
			g.stamp.put(md)
		}
		return true
	}
	return false
}
