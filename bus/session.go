package bus

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Metadata of links with presence. Times are Unix microseconds by the clock of
// the side that writes them.
const (
	keySession = "leat-session" // of the sender
	keyPeer    = "leat-peer"    // the session that it speaks to
	keyBeat    = "leat-beat"    // greetings: the sender's Heartbeat, in microseconds
)

// session names one life of a channel: when it was attached, and something
// random. What was sent to or by another life is not taken for this one's.
type session struct {
	at int64 // Unix microseconds
	id string
}

// newSession returns a session that is newer than all before it on the same
// bus, also where the clock does not move or is set back.
func (b *Bus) newSession() session {
	now := time.Now
	if b.wall != nil {
		now = b.wall
	}
	at := now().UnixMicro()
	for {
		last := b.lastSession.Load()
		if at <= last {
			at = last + 1
		}
		if b.lastSession.CompareAndSwap(last, at) {
			break
		}
	}
	return session{at, strconv.FormatInt(at, 36) + "-" + strconv.FormatUint(rand.Uint64(), 36)}
}

// maxSession bounds the length of a session, in bytes.
const maxSession = 64

func parseSession(id string) (session, error) {
	if len(id) > maxSession {
		return session{}, fmt.Errorf("metadata %s: invalid session of %d bytes", keySession, len(id))
	}
	at, random, ok := strings.Cut(id, "-")
	n, err := strconv.ParseInt(at, 36, 64)
	if !ok || err != nil || n < 0 || n > maxTime || strings.ContainsFunc(random, notInSession) {
		return session{}, fmt.Errorf("metadata %s: invalid session %q", keySession, id)
	}
	return session{n, id}, nil
}

func notInSession(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
}

// newer reports whether s began after o. Where both began in one microsecond
// the random part decides, the same way on every side.
func (s session) newer(o session) bool {
	if s.at != o.at {
		return s.at > o.at
	}
	return s.id > o.id
}

// verdict is what a session says about a message.
type verdict int

const (
	stale     verdict = iota // from another life, or to one: drop it
	restarted                // the peer has begun a new life: this link ends
	greeted                  // a greeting of a session that is not confirmed
	current                  // from the peer that is confirmed
	confirmed                // from one that knows this session, and is confirmed by that
)

// A session may have begun so much later than it is, by the clock of the peer that is confirmed where that was measured,
// or else by this side's. One that claims to have begun later still is not newer than any.
const (
	sessionTolerance        = time.Minute
	sessionToleranceUnknown = time.Hour
)

// absurd reports whether s cannot have begun yet. now is the own clock's.
func (p *presence) absurd(s session, now int64) bool {
	offset, known := p.clock.ahead()
	if !known {
		return s.at > now+sessionToleranceUnknown.Microseconds()
	}
	return s.at > now+offset+sessionTolerance.Microseconds()
}

// judge applies the rules of sessions to a message of type t from one, which
// is addressed to another, or to none if to is empty. now is the own clock's. p.mu is held.
//
// A session is confirmed when it addresses this one: its sender is alive, and
// has heard of this life. Only greetings need no address. The
// newest session wins.
func (p *presence) judge(from session, to string, t Type, now int64) verdict {
	peer := p.peer.Load()
	switch {
	case from.id == p.session.id: // the transport hands out what it is given
		return stale
	case to != "" && to != p.session.id, to == "" && t != ListRequest:
		return stale
	case peer == nil && t == Goodbye: // it has left before anything else came of it
		return stale
	case peer == nil && to == "":
		return greeted
	case peer == nil:
		return confirmed
	case from.id == peer.id:
		return current
	case from.newer(*peer) && !p.absurd(from, now):
		return restarted
	}
	return stale
}
