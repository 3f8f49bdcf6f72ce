package bus

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/internal/mac"
)

// Channel is one half of a way to a peer: a Watermill publisher and subscriber
// and the topics to use on them. Package pairing makes channels; fill one in
// by hand to run over anything else.
//
// A channel is single use: once attached, it belongs to its link, which calls
// Close, once, when it ends. A channel whose attachment failed still belongs
// to its maker, and can be attached again.
type Channel struct {
	// ID is the name of the peer as this side sees it. Required.
	ID string
	// Publisher and Out say where messages to the peer go. Required. The
	// publisher need not be ordered across concurrent calls: a link publishes
	// one message at a time.
	Publisher message.Publisher
	Out       string
	// Subscriber and In say where messages from the peer come from. With a nil
	// Subscriber nothing is subscribed to, and the owner feeds [Link.Deliver],
	// for example from a handler of a message.Router.
	Subscriber message.Subscriber
	In         string
	// Codec is Binary when nil. Both halves must use the same.
	Codec Codec
	// Local marks a peer in this process that is trusted with private
	// commands: it may call those whose ID it knows. Default false.
	Local bool
	// InProcess promises that Publish waits for nothing but the peer's pump,
	// which never blocks, and keeps none of its arguments: callers and handlers may then publish on
	// their own goroutine, once the handshake is done, and save a hand-over.
	// Default false: whatever Publish does, it holds up the link's writer only.
	InProcess bool
	// Heartbeat gives the link presence, which channels to another process need. Default 0: none;
	// ignored where InProcess is set.
	//
	// Each attach makes a session then, and the two sides get to know each other's before anything
	// else is sent: what is sent earlier is held, within QueueSize, and lost if the link closes before. What was sent
	// by or to another session is dropped and counted (LinkStats.Stale), so that nothing of an earlier life,
	// a goodbye say, disturbs this one. A peer that begins a new session ends the link with an error that
	// wraps ErrPeerClosed. A session is newer if it began later by its own side's clock; where that was
	// set back, or is more than a minute ahead of what was measured (an hour, where nothing was), the peer gets in when
	// the old session is given up. A peer that names no session is taken as it is, once it has said hello or answered one, until
	// one with a session is confirmed: from then on only that is.
	//
	// If positive, it is also the time after which a ping is sent if nothing else was, to a peer that
	// has heartbeats too; where the two differ, the shorter time counts for both. When such a peer has not been
	// heard of for three times Heartbeat, the link ends with an error that wraps ErrPeerClosed. If negative,
	// there are sessions and no heartbeats.
	//
	// Both sides measure how far their clocks are apart, and a request that arrives after its caller
	// has stopped waiting is dropped unexecuted and counted (LinkStats.Expired).
	Heartbeat time.Duration
	// Keys are secrets that both sides share: a message of a publisher without one of them is rejected. At most 8, each of at
	// least 16 random bytes. What is sent is signed with the first (HMAC-SHA256 over the topic, all metadata and
	// the payload, in the metadata entry leat-mac); what is received has to be signed with any of them, or is rejected
	// and counted (LinkStats.Forged). So a key is changed without a pause: add the new one at the back on both sides, then move
	// it to the front on both, then drop the old one.
	//
	// The topics have to have the same names on both sides, and the transport has to leave metadata as it is. Nothing is
	// encrypted. A message that is recorded and published again is still authentic: sessions stop what is from another
	// life, dedupe and deadlines what is not much older than Options.RequestTTL and EventTTL; see docs/brokers.md.
	// Default: none, and messages that are signed are rejected.
	Keys [][]byte
	// Shared marks a peer that stands for many processes, as a fleet does. Only such a peer is believed when it announces
	// the feature [Shared].
	Shared bool
	// Unqueued marks a Shared peer that has no queue for durable commands, so that this side cannot serve them there: a
	// registry refuses to register them.
	Unqueued bool
	// Draining is called by Bus.Drain before that refuses anything, and may take until ctx ends: where the peer stands
	// for many, they are told not to choose this side any more, and what they have sent until then is taken. May be
	// called more than once, at the same time too. What it returns says what could not be waited for; Drain returns it. May be nil.
	Draining func(ctx context.Context) error
	// Closing is called once, by the link, when it begins to close and before what is queued
	// is published: a transport that holds messages for a peer that has never come gives up
	// on them here, rather than hold up the close. May be nil.
	Closing func()
	// Close releases what was made for this channel. Called once, by the link,
	// after the last Publish has returned or when one hangs. May be nil.
	Close func() error

	used atomic.Bool
}

// claim marks ch as used, or says why it cannot be.
func (ch *Channel) claim() (*mac.Keys, error) {
	if ch == nil {
		return nil, fmt.Errorf("%w: nil", ErrInvalidChannel)
	}
	keys, err := mac.New(ch.Keys)
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrInvalidChannel, ch.ID, err)
	}
	var problem string
	switch {
	case ch.ID == "":
		problem = "empty ID"
	case ch.Publisher == nil:
		problem = "no Publisher"
	case ch.Out == "":
		problem = "no Out topic"
	case (ch.Subscriber != nil || keys != nil) && ch.In == "": // the signature is of it
		problem = "no In topic"
	case !ch.used.CompareAndSwap(false, true):
		problem = "attached before: a channel is single use"
	default:
		return keys, nil
	}
	return nil, fmt.Errorf("%w %q: %s", ErrInvalidChannel, ch.ID, problem)
}
