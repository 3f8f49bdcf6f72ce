package bus

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Type names what an [Envelope] is: one of the seven protocol messages, or a
// control message that only peers which said so understand.
type Type string

// The seven messages of the protocol.
const (
	RegisterRequest  Type = "register.command.request"
	RegisterResponse Type = "register.command.response"
	ListRequest      Type = "list.commands.request"
	ListResponse     Type = "list.commands.response"
	ExecuteRequest   Type = "execute.command.request"
	ExecuteResponse  Type = "execute.command.response"
	Event            Type = "event"
)

// The control messages. They have no payload, and travel as metadata alone.
const (
	Cancel   Type = "cancel"   // the caller of the request named by Thread has left
	Withdraw Type = "withdraw" // the sender no longer executes the command Name
	Goodbye  Type = "goodbye"  // the sender is closing its half of the link
	Flush    Type = "flush"    // answer with Flushed once everything before this is accepted
	Flushed  Type = "flushed"  // the answer; Thread is the ID of the Flush
	Ping     Type = "ping"     // the sender is there, and has nothing else to say
	Group    Type = "group"    // a listener of the group Key, for the pattern Name, is Hops registries away; 0: no longer any
)

// Control reports whether t is a control message rather than one of the seven.
func (t Type) Control() bool {
	switch t {
	case Cancel, Withdraw, Goodbye, Flush, Flushed, Ping, Group:
		return true
	}
	return false
}

// Envelope is one protocol message, whatever carries it. It is a value: copy
// it freely, but treat Body and Metadata as immutable, since copies share them.
type Envelope struct {
	// ID identifies the message. For an event it is the key for dedupe and
	// stays the same on every hop. A message that is received has one; a link
	// that sends gives one to a message that has none.
	ID   string
	Type Type
	// Thread is the ID of the request that a response, Cancel or Flushed is about.
	Thread string
	// Name is the command ID of an ExecuteRequest or Withdraw, the event ID of an Event, the pattern of a Group.
	Name string
	// Body is the request, result, event payload, the definition (RegisterRequest) or the array of
	// definitions (ListResponse), as JSON. Nil means absent; an explicit
	// null is the four bytes "null".
	Body json.RawMessage
	// Value stands for the Body in process, where the bytes were not needed yet; nil otherwise. Layers see one
	// only if each of the link's is a [ValueReceiver].
	Value Value
	// Fault is set on a response that refuses or reports a failure.
	Fault *Fault

	// What follows travels only as metadata, and only where the transport has any.

	// Deadline is the time that remains to the caller of an ExecuteRequest; 0 is unknown.
	Deadline time.Duration
	// Expires is the end of Deadline on this process's clock, which a link knows best: it wins over Deadline where an
	// envelope is sent. A request that was received has it, if it has a deadline at all; one that came from a link in this
	// process may have no Deadline beside it.
	Expires time.Time
	// Life is the time for which an event may still be relayed; 0 is the whole EventTTL.
	Life time.Duration
	// Depth counts the handlers and listeners that caused this message.
	Depth int
	// Hops counts the registries that forwarded it.
	Hops int
	// Key names what an ExecuteRequest is about: where several processes serve the command, requests with the same
	// key go to the same one while they stay the same. Empty: to any. Of a Group it is the name. Of an Event that a fleet
	// brings it is the process that has sent it. Of a RegisterRequest it names the registries that this has come through, with
	// commas between; a hop adds itself.
	Key string
	// Idempotent says that the ExecuteRequest may be executed more than once.
	Idempotent bool
	// Durable says that the command outlives the processes which serve it: of an ExecuteRequest, that it goes through the
	// command's queue where there is one; of a RegisterRequest or ListResponse, that all of its commands are such.
	Durable bool
	// Only says of an Event that it is for its Groups alone: all other listeners got it under another ID, and the process
	// that was picked for these groups has no listener of theirs any more.
	Only bool
	// Checked says of an Event that this process has found its Name and Body well-formed, so that its other links need
	// not look again. It does not leave the process.
	Checked bool
	// Free says of a reply that neither its handler, nor any handler that this one has called, has emitted an event: it
	// may pass queued events. A reply without it keeps its place among the events.
	Free bool
	// Partial says of a ListResponse that more of the same list follows, in the same Thread.
	Partial bool
	// Features are the control messages that the sender understands, on list messages.
	Features Features
	// Once is the idempotency key of an ExecuteRequest: requests for one command with the same Once are one request, where
	// replies are kept. Empty: the request is one of its own.
	Once string
	// Groups are the groups of listeners that an Event is for in this process, where that is decided: by a fleet,
	// for what it brings, and by the registry that is attached to one, for what goes there. Nil: it is not. Listeners
	// without a group get the event in any case. Copies share it.
	Groups *GroupSet
	// Metadata holds the entries that are not leat's own, such as traceparent
	// or correlation_id. Nil when there are none. A hop passes them on.
	Metadata message.Metadata

	after uint64 // of a reply that is about to be sent: see outItem; 0: it keeps its place
}

// GroupSet is names of groups of listeners, maybe none. Immutable.
type GroupSet []string

// Has reports whether the event is, or may be, for the group: nil has all.
func (s *GroupSet) Has(name string) bool { return s == nil || slices.Contains(*s, name) }

// Lookup returns a function that reports what Has does, at a cost that does not grow with the number of groups.
func (s *GroupSet) Lookup() func(name string) bool {
	if s == nil || len(*s) <= 8 {
		return s.Has
	}
	set := make(map[string]struct{}, len(*s))
	for _, name := range *s {
		set[name] = struct{}{}
	}
	return func(name string) bool { _, ok := set[name]; return ok }
}

// Value is a body that is not encoded. It is immutable, and shares no memory that can be changed.
type Value interface {
	// Encode returns the body.
	Encode() json.RawMessage
	// Size bounds its length, in bytes.
	Size() int
}

// encode makes the Body of a Value.
func (e *Envelope) encode() {
	if e.Value != nil {
		e.Body, e.Value = e.Value.Encode(), nil
	}
}

// spellOut says all that a message says which leaves the process: its ID, its Body, and in Deadline what Expires says.
func (e *Envelope) spellOut() {
	if e.ID == "" {
		e.ID = NewID()
	}
	e.encode()
	if !e.Expires.IsZero() {
		e.Deadline = max(time.Microsecond, time.Until(e.Expires))
	}
}

// expire says in Expires what Deadline says, from now on.
func (e *Envelope) expire() {
	if e.Deadline > 0 && e.Expires.IsZero() {
		e.Expires = time.Now().Add(e.Deadline)
	}
}

// Fault is the failure that a response reports.
type Fault struct {
	// Code is one of the protocol's error codes, such as "not_found".
	Code string `json:"code"`
	// Message is text for people. It crosses the wire.
	Message string `json:"message"`
	// Reason and Details are what the application says beside that: a token of letters, digits, "-", "_" and ".", at most 128,
	// and JSON of at most 8 KiB. They travel as metadata; both may be empty. Copies share Details.
	Reason  string          `json:"-"`
	Details json.RawMessage `json:"-"`
	// Unrouted says that no handler was reached: the code comes from routing,
	// not from a handler that chose it. It travels as metadata.
	Unrouted bool `json:"-"`
	// Looped says that the request went through too many registries, or in a
	// circle: a not_found that does not mean that the command is not there. It
	// travels as metadata.
	Looped bool `json:"-"`
}

// Features is the set of control messages that a peer understands.
type Features uint8

// The features that this version announces.
const (
	CanCancel Features = 1 << iota
	CanWithdraw
	CanGoodbye
	CanFlush
	CanAdvertise // takes a list response that was not asked for

	// CanPing is announced by a side that sends heartbeats and waits for them: see [Channel.Heartbeat].
	CanPing

	// CanGroup is announced by a peer in the same process, and by a fleet: it wants to know which groups of listeners
	// there are, and takes and gives events with Envelope.Groups.
	CanGroup

	// Shared says that the peer stands for many: its commands may be executed elsewhere too. So one of them can be
	// registered here as well, and what is registered here goes first. Links do not announce it; a fleet does, and only
	// of a channel that is [Channel.Shared] it is believed.
	Shared Features = 1 << 7

	allFeatures = CanCancel | CanWithdraw | CanGoodbye | CanFlush | CanAdvertise
)
