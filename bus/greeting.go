package bus

import (
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// greeter is one who has said hello, and is to be answered by name.
type greeter struct {
	thread  string
	session string
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
