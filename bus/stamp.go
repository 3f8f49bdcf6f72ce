package bus

import (
	"errors"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

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
		p.pinging.Store(false)
		p.clock.put(md, p.micros())
	case Event:
		p.stampAge(it, md)
	case ExecuteRequest:
		if it.life > 0 {
			left := min(it.life-(time.Since(p.link.made)-it.born), maxLeft)
			if left <= 0 {
				return errLate
			}
			md[keyDeadline] = formatMicros(left)
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

// recipient is the session that a message is for. A goodbye goes to whichever session
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
