package pairing

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
	kindHello   = "hello"   // discovery: a new process; answered with a beat that welcomes it
	kindBeat    = "beat"    // discovery: still here, with this version of the commands; it welcomes those that are not known yet
	kindChange  = "change"  // discovery: one version more of the commands, and what is different
	kindAsk     = "ask"     // inbox: tell me your commands; answered with list
	kindList    = "list"    // inbox: one part of all the commands
	kindPing    = "ping"    // inbox: answered with pong, for the clock
	kindPong    = "pong"    // inbox
	kindBye     = "bye"     // inbox, behind the last reply: the process is going
	kindFlush   = "flush"   // events: answered with flushed by whoever has taken the events before it
	kindFlushed = "flushed" // inbox
)

// Metadata keys.
const (
	keyKind    = "leat-fleet-kind"
	keyFrom    = "leat-fleet-from"
	keySession = "leat-fleet-session"
	keyTo      = "leat-fleet-to"      // the session that it is for; another life of that process ignores it
	keySent    = "leat-fleet-sent"    // unix µs, the sender's clock
	keyEcho    = "leat-fleet-echo"    // the sent of what this answers
	keyExpires = "leat-fleet-expires" // of a request: unix µs, the sender's clock
	keyVersion = "leat-fleet-version" // of the sender's commands
	keyPart    = "leat-fleet-part"    // of a list: "1/3"
	keyThread  = "leat-fleet-thread"  // of a flush
	keyPicks   = "leat-fleet-picks"   // of an event: "group=session,…", who is to serve it for each group
	keyGaps    = "leat-fleet-gaps"    // of hello, beat and list: how often the sender's inbox may have lost something
	keyDrained = "leat-fleet-drained" // of a bye: what was not answered was not executed
	keyLease   = "leat-fleet-lease"   // of hello, beat, ask and a durable request: µs, FleetOptions.Lease of the sender
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
	part, parts int    // 0 is absent
	thread      string // may be empty
	picks       string // of an event; may be empty
	drained     bool
	body        []byte       // of a notice
	envelope    bus.Envelope // of a bus message

	names bool      // it says that its sender knows this life of this process; set by its receiver
	what  catalogue // the body of a change or a list; likewise
}

// knownKind reports whether this version knows what the letter is about.
func (l *letter) knownKind() bool {
	switch l.kind {
	case "", kindProbe, kindHello, kindBeat, kindChange, kindAsk, kindList, kindPing, kindPong, kindBye, kindFlush, kindFlushed:
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
