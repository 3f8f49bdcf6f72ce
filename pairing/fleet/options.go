package fleet

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/option"
)

// Options configures a [Fleet]. Only Namespace is required.
type Options struct {
	// Namespace is what the processes of one fleet have in common, and others on the broker have not: letters, digits,
	// "-" and "_", at most 64. Required.
	Namespace string
	// ID names this process among those of the fleet: letters, digits, "-", "_" and ".", at most 128. Two that live at
	// once must not have the same: the one that began first ends then. Default: a random one.
	ID string
	// Channel is the ID of the channel, by which the registry knows the fleet. Default "fleet".
	Channel string
	// Topic gives a topic's name on the broker for its full name, where the broker limits letters or length: the names
	// are <namespace>.inbox.<id>, <namespace>.discovery and <namespace>.events; of durable commands <namespace>.queue.<command>,
	// and <namespace>.durable for their group. It must give each name another one, the
	// same in every process. Default: the name as it is.
	Topic func(name string) string
	// Queue makes a subscriber of which each message of a topic goes to one subscription, of all that have the same
	// group, wherever they are; to another one if it is nacked or its process dies. The group exists, and keeps messages while no process
	// subscribes, from its first Subscribe on. Where the subscriber is a message.Publisher too, requests are published by it: to the queue
	// of the group alone, which keeps them though the group does not exist yet, or fails with an error that is a bus.ErrFull: then
	// the call fails at once, with commands.ErrQueueFull. brokers.Broker.Queue is one. It is for commands.Options.Durable: without it this
	// process can call durable commands and not serve them: a registry that is attached to the fleet refuses to register one, and
	// one that has one refuses the channel, with commands.ErrInvalidRequest. Default: none.
	Queue func(group string) (message.Subscriber, error)
	// DurableWorkers is how many requests for each durable command this process takes from the queue at a time, of
	// which each is a subscription. A durable command that calls itself through other processes needs as many as it is
	// nested. Default 4.
	DurableWorkers int
	// Lease is the time after which the others take this process to be gone if they do not hear of it, which they do at
	// least every third of it. Each process has its own, which it tells the others. Default 6 s; at least 50 ms, at most 1 h.
	Lease time.Duration
	// RequestTTL is how long a request that was received is remembered, so that it runs once however often the broker
	// delivers it; and the time that a request without a deadline has. Default 30 s.
	RequestTTL time.Duration
	// DedupeKeys bounds the requests that are remembered, and the events. Default 262,144.
	DedupeKeys int
	// QueueSize bounds the requests and events that wait to be published on one topic; answers have twice that. At the
	// bound the channel takes no more, and its callers wait. Default 8,192.
	QueueSize int
	// Keys are secrets that the processes of the fleet share: a message of a publisher without one of them is rejected.
	// At most 8, each of at least 16 random bytes. What this process sends is signed with the first (HMAC-SHA256 over the topic and
	// all of the message; a bundle of requests and replies has one signature), and what it receives, from queues too, has
	// to be signed with any of them, or is rejected and counted (Stats.Forged). So a key is changed without a pause: add the
	// new one at the back in every process, then move it to the front in every process, then drop the old one, when what
	// was signed with it has left the queues of durable commands. Topic has to give the same names in all processes, and the broker
	// has to leave metadata as it is. Nothing is encrypted; see bus.Channel.Keys and docs/brokers.md for what else
	// it does not do. Default: none, so that all publishers on the topics are trusted.
	Keys [][]byte
	// MaxMembers bounds the other processes that this one deals with: more are refused and counted. Default 1,024.
	MaxMembers int
	// MaxQueues bounds the durable commands for which this process ever has a queue made, those of its registry's peers
	// included: one more is refused. Brokers keep queues, so that one is never given back. Default 256.
	MaxQueues int
	// MaxMessageBytes bounds a message with a request, a reply or an event, its metadata and some 250 bytes of the fleet's own
	// included, where the broker takes less than the registry does: a larger request fails as invalid, a larger reply as an
	// internal error, and a larger event is an error of Emit. Where the publisher knows what the broker takes (bus.SizedPublisher), that
	// counts if it is less. Default 0: the registry's own bound, and the publisher's.
	MaxMessageBytes int
	// CloseTimeout bounds how long Close waits for what is queued to be published, and then for the publisher and
	// subscriber to end. Default 5 s.
	CloseTimeout time.Duration
	// Close releases what was made for this fleet. Called once, when it has ended; not if New fails. Default:
	// nothing; pub and sub stay the caller's.
	Close func() error
	// OnState is called with each state of the fleet after Starting, one call at a time, in a goroutine of its own; of states that change
	// while it runs it gets the last. Isolated comes within Lease after the last contact. The last call is the one with
	// Ended. It must not wait for Close, Leave, or the end of the fleet, which wait for it. Default: none; see [Fleet.State].
	OnState func(State)
	// OnMember is called with each member that comes, changes its commands or groups, or goes: one call at a time, in a goroutine
	// of its own, those that have gone first. Of changes that follow each other while it runs it gets what is then different: a member
	// that has come and gone meanwhile is none. Members that are there when the fleet ends are not told as left. It must not wait for
	// Close, Leave, or the end of the fleet, which wait for it. Default: none; see [Fleet.AwaitMembers].
	OnMember func(MemberEvent)
	// Logger gets what no caller is told. Default slog.Default().
	Logger *slog.Logger

	now func() time.Time // the clock that the others are told; tests set it
}

func (o *Options) check(pub message.Publisher, sub message.Subscriber) error {
	switch {
	case pub == nil:
		return errors.New("no publisher")
	case sub == nil:
		return errors.New("no subscriber")
	case o.Namespace == "":
		return errors.New("no Namespace, which says what processes of the broker are one fleet")
	case !named(o.Namespace, "-_", 64):
		return fmt.Errorf("invalid Namespace %q", o.Namespace)
	case o.ID != "" && !named(o.ID, "-_.", maxID):
		return fmt.Errorf("invalid ID %q", o.ID)
	case o.Lease != 0 && (o.Lease < minLease || o.Lease > maxLease):
		return fmt.Errorf("invalid Lease %v", o.Lease)
	}
	return option.NotNegative("Options", []option.Number{
		{Field: "RequestTTL", Value: int64(o.RequestTTL)}, {Field: "CloseTimeout", Value: int64(o.CloseTimeout)},
		{Field: "DedupeKeys", Value: int64(o.DedupeKeys)}, {Field: "QueueSize", Value: int64(o.QueueSize)},
		{Field: "DurableWorkers", Value: int64(o.DurableWorkers)}, {Field: "MaxMessageBytes", Value: int64(o.MaxMessageBytes)},
		{Field: "MaxMembers", Value: int64(o.MaxMembers)}, {Field: "MaxQueues", Value: int64(o.MaxQueues)},
	}...)
}

// named reports whether s is a name of letters, digits and some others.
func named(s, others string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return true
}

func (o Options) withDefaults() Options {
	o.ID = orDefault(o.ID, bus.NewID())
	o.Channel = orDefault(o.Channel, "fleet")
	o.Lease = orDefault(o.Lease, 6*time.Second)
	o.RequestTTL = orDefault(o.RequestTTL, 30*time.Second)
	o.DedupeKeys = orDefault(o.DedupeKeys, 1<<18)
	o.QueueSize = orDefault(o.QueueSize, 8192)
	o.MaxMembers = orDefault(o.MaxMembers, 1024)
	o.MaxQueues = orDefault(o.MaxQueues, 256)
	o.DurableWorkers = orDefault(o.DurableWorkers, 4)
	o.CloseTimeout = orDefault(o.CloseTimeout, 5*time.Second)
	o.Logger = orDefault(o.Logger, slog.Default())
	if o.Topic == nil {
		o.Topic = func(name string) string { return name }
	}
	if o.now == nil {
		o.now = time.Now
	}
	return o
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
