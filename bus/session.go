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
	at := time.Now().UnixMicro()
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

func parseSession(id string) (session, error) {
	at, _, ok := strings.Cut(id, "-")
	n, err := strconv.ParseInt(at, 36, 64)
	if !ok || err != nil {
		return session{}, fmt.Errorf("metadata %s: no session: %q", keySession, id)
	}
	return session{n, id}, nil
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

// judge applies the rules of sessions to a message of type t from one, which
// is addressed to another, or to none if to is empty. p.mu is held.
//
// A session is confirmed when it addresses this one: whoever sent that is
// alive, and has heard of this life. Only greetings need no address. The
// newest session wins.
func (p *presence) judge(from session, to string, t Type) verdict {
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
	case from.newer(*peer):
		return restarted
	}
	return stale
}
