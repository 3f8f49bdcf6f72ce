package fleet

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
)

// What the processes of a fleet tell each other. Requests, replies, cancels and events are bus messages in binary
// form, with the fleet's metadata beside it; everything else is a notice, which has a kind.
const (
	kindProbe   = "probe"   // to oneself: does this topic work?
	kindHello   = "hello"   // discovery: a process is there and wants to be known; answered with a beat that welcomes it
	kindBeat    = "beat"    // discovery: the sender is there; it welcomes those that it has heard of and does not know. Inbox: its inbox may have lost something
	kindChange  = "change"  // discovery: one version more of the commands and groups, and what is different
	kindSuspect = "suspect" // discovery: these have not answered; each that is there answers with a beat
	kindDrain   = "drain"   // discovery or inbox: choose me no more; answered with confirm
	kindBye     = "bye"     // discovery, and inbox behind the last reply: the process is going
	kindJoin    = "join"    // inbox: which processes are there? Answered with view
	kindSync    = "sync"    // inbox: what the sender knows of, in short; answered with view where that is not the same
	kindView    = "view"    // inbox: processes
	kindPing    = "ping"    // inbox: answered with pong
	kindPong    = "pong"    // inbox
	kindFetch   = "fetch"   // inbox: tell me your commands and groups; answered with list
	kindList    = "list"    // inbox: one part of these
	kindConfirm = "confirm" // inbox, behind all that was sent to the one that drains
	kindFlush   = "flush"   // events: answered with flushed by whoever has taken the events before it
	kindFlushed = "flushed" // inbox
)

// Metadata keys.
const (
	keyKind     = "leat-fleet-kind"
	keyFrom     = "leat-fleet-from"
	keySession  = "leat-fleet-session"
	keyTo       = "leat-fleet-to"       // the session that it is for; another life of that process ignores it
	keySent     = "leat-fleet-sent"     // unix µs, the sender's clock
	keyEcho     = "leat-fleet-echo"     // the sent of what this answers
	keyExpires  = "leat-fleet-expires"  // of a request: unix µs, the sender's clock
	keyVersion  = "leat-fleet-version"  // of the sender's commands and groups
	keyPart     = "leat-fleet-part"     // of a list or view: "1/3"
	keyThread   = "leat-fleet-thread"   // of a flush or drain, and what answers it
	keyPicks    = "leat-fleet-picks"    // of an event: "group=session,…", who is to serve it for each group
	keyGaps     = "leat-fleet-gaps"     // how often the sender's inbox may have lost something
	keyDrained  = "leat-fleet-drained"  // of a bye: what was not answered was not executed; of others: the sender is about to leave
	keyLease    = "leat-fleet-lease"    // µs, Options.Lease of the sender
	keyWire     = "leat-fleet-wire"     // the version of this protocol that the sender speaks; see fleet_version.go
	keyOldest   = "leat-fleet-oldest"   // the oldest that it speaks too
	keyFeatures = "leat-fleet-features" // a bit each
	keyHash     = "leat-fleet-hash"     // of the sender's commands and groups
	keyDigest   = "leat-fleet-digest"   // of the processes that the sender knows
	keyAge      = "leat-fleet-age"      // of hello and beat: µs for which the sender has been ready
)

// process is one life of one process.
type process struct{ id, session string }

// check refuses what no process is called, before it becomes part of a topic's name.
func (p process) check() error {
	switch {
	case p.id == "" || p.session == "":
		return errors.New("not a fleet's message: no sender")
	case !named(p.id, "-_.", maxID):
		return fmt.Errorf("invalid process name: %.140q", p.id)
	case !named(p.session, "-", maxSession):
		return fmt.Errorf("invalid session: %.80q", p.session)
	}
	return nil
}

// maxID and maxSession bound the lengths of what processes and their lives are called, in bytes.
const (
	maxID      = 128
	maxSession = 64
)

// newSession makes a session that says when it began, so that of two one can tell the newer.
func newSession(now time.Time) string {
	return strconv.FormatInt(now.UnixMicro(), 36) + "-" + bus.NewID()[:18]
}

// began is when a session began, in Unix microseconds by the clock of its process; 0 if it does not say.
func began(session string) int64 {
	at, _, _ := strings.Cut(session, "-")
	n, err := strconv.ParseInt(at, 36, 64)
	if err != nil || n < 0 || n > maxMicros {
		return 0
	}
	return n
}

// newer reports whether session a began after b. For two that began at once the rest decides, everywhere alike.
func newer(a, b string) bool {
	at, _, _ := strings.Cut(a, "-")
	bt, _, _ := strings.Cut(b, "-")
	if len(at) != len(bt) {
		return len(at) > len(bt)
	}
	return a > b
}

// letter is one message between processes of a fleet.
type letter struct {
	process            // who sent it
	kind, to    string // kind is empty for a bus message
	sent, echo  int64  // 0 is absent
	expires     int64  // 0 is absent
	version     int64  // 0 is absent
	gaps        int64  // 0 is absent
	lease       int64  // of the sender, in µs; 0 is absent
	wire        int64  // 0 is absent
	oldest      int64  // 0 is absent
	features    int64
	digest      int64
	age         int64  // 0 is absent
	hash        string // empty: no commands, no groups
	part, parts int    // 0 is absent
	thread      string // may be empty
	picks       string // of an event; may be empty
	drained     bool
	again       bool         // of a reply: not executed, and may be sent to the same process again
	body        []byte       // of a notice
	envelope    bus.Envelope // of a bus message

	names  bool      // it says that its sender knows this life of this process; set by its receiver
	notice notice    // the body of a hello, beat or suspect; likewise
	what   catalogue // of a change or a list
	view   view      // of a view or sync
}

// knownKind reports whether this version knows what the letter is about.
func (l *letter) knownKind() bool {
	switch l.kind {
	case "", kindProbe, kindHello, kindBeat, kindChange, kindSuspect, kindDrain, kindBye, kindJoin, kindSync, kindView, kindPing, kindPong,
		kindFetch, kindList, kindConfirm, kindFlush, kindFlushed:
		return true
	}
	return false
}

// executed reports whether it answers a request that a handler may have seen.
func (l *letter) executed() bool {
	return l.kind == "" && l.envelope.Type == bus.ExecuteResponse && !unexecuted(l.envelope.Fault)
}

// last reports whether nothing that was before it may be sent behind it.
func (l *letter) last() bool { return l.kind == kindBye }

// seal makes the message of a letter.
func (l *letter) seal() (*message.Message, error) {
	var m *message.Message
	if l.kind == "" {
		var err error
		if m, err = bus.Binary.Marshal(l.envelope); err != nil {
			return nil, err
		}
		bus.Escape(m)
	} else {
		m = message.NewMessage(bus.NewID(), l.body)
		m.Metadata[keyKind] = l.kind
	}
	m.Metadata[keyFrom], m.Metadata[keySession] = l.id, l.session
	putText(m.Metadata, keyTo, l.to)
	putText(m.Metadata, keyThread, l.thread)
	putText(m.Metadata, keyPicks, l.picks)
	putNumber(m.Metadata, keySent, l.sent)
	putNumber(m.Metadata, keyEcho, l.echo)
	putNumber(m.Metadata, keyExpires, l.expires)
	putNumber(m.Metadata, keyVersion, l.version)
	putNumber(m.Metadata, keyGaps, l.gaps)
	putNumber(m.Metadata, keyLease, l.lease)
	putNumber(m.Metadata, keyWire, l.wire)
	putNumber(m.Metadata, keyOldest, l.oldest)
	putNumber(m.Metadata, keyFeatures, l.features)
	putNumber(m.Metadata, keyDigest, l.digest)
	putNumber(m.Metadata, keyAge, l.age)
	putText(m.Metadata, keyHash, l.hash)
	if l.parts > 0 {
		m.Metadata[keyPart] = fmt.Sprintf("%d/%d", l.part, l.parts)
	}
	if l.drained {
		m.Metadata[keyDrained] = "1"
	}
	return m, nil
}

func putText(m message.Metadata, key, v string) {
	if v != "" {
		m[key] = v
	}
}

func putNumber(m message.Metadata, key string, v int64) {
	if v != 0 {
		m[key] = strconv.FormatInt(v, 10)
	}
}

// open reads a message. What it does not understand it refuses.
func open(m *message.Message) (l letter, err error) {
	md := m.Metadata
	l.kind, l.to, l.thread, l.picks = md[keyKind], md[keyTo], md[keyThread], md[keyPicks]
	l.process = process{md[keyFrom], md[keySession]}
	if err := l.process.check(); err != nil {
		return l, err
	}
	l.drained = md[keyDrained] != ""
	l.sent, l.echo = number(md, keySent, &err), number(md, keyEcho, &err)
	l.expires, l.version = number(md, keyExpires, &err), number(md, keyVersion, &err)
	l.gaps, l.lease = number(md, keyGaps, &err), number(md, keyLease, &err)
	l.wire, l.oldest, l.features = number(md, keyWire, &err), number(md, keyOldest, &err), number(md, keyFeatures, &err)
	l.digest, l.age, l.hash = number(md, keyDigest, &err), number(md, keyAge, &err), md[keyHash]
	if err != nil {
		return l, err
	}
	if v := md[keyPart]; v != "" {
		if _, err := fmt.Sscanf(v, "%d/%d", &l.part, &l.parts); err != nil || l.part < 1 || l.part > l.parts || l.parts > maxParts {
			return l, fmt.Errorf("metadata %s: %q", keyPart, v)
		}
	}
	if err := checkPicks(l.picks); err != nil {
		return l, fmt.Errorf("metadata %s: %w", keyPicks, err)
	}
	if l.kind != "" {
		l.body = m.Payload
		return l, nil
	}
	l.envelope, err = bus.Binary.Unmarshal(m)
	return l, err
}

// number reads a number, 0 where there is none. What is wrong goes into err.
func number(md message.Metadata, key string, err *error) int64 {
	v := md[key]
	if v == "" {
		return 0
	}
	n, bad := strconv.ParseInt(v, 10, 64)
	if bad != nil {
		*err = fmt.Errorf("metadata %s: %w", key, bad)
	}
	return n
}
