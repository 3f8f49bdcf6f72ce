package pairing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
)

// JoinOptions refines a joined channel. The zero value works.
type JoinOptions struct {
	// Prefix begins the topics' names. Default "leat". Ignored when Topic is set.
	Prefix string
	// Topic names the topic on which receiver gets what sender sends, for
	// brokers that limit the length or the letters of names, or that have the topics
	// already. Both sides must use the same, and two pairs must never get the same
	// name. Called twice, by Join. Default: prefix.sender.receiver, with the names as they are.
	Topic func(sender, receiver string) string
	// Codec of both halves. Default bus.Binary.
	Codec bus.Codec
	// Heartbeat is how often a side that has nothing else to say pings the other. A
	// peer that is not heard of for three times that is gone, and its link
	// ends: by default within 4 to 6 s after it vanished without a goodbye. Default 2 s;
	// negative: no heartbeats, so that it ends when the peer comes back. See bus.Channel.Heartbeat.
	Heartbeat time.Duration
	// Keys are secrets that both sides share, at least 16 random bytes each, at most 8: what is signed with none of them is
	// rejected. The first signs. See bus.Channel.Keys for how to change one, and for what it does not do.
	// Default: none, so that all publishers on the topics are trusted.
	Keys [][]byte
	// Close is called once, by the link, when it has ended; see
	// bus.Channel.Close. Give it what was made for this channel alone, such as
	// the publisher's Close. Default: nothing; pub and sub stay the caller's.
	Close func() error
}

// Join returns the channel by which self talks to peer over any Watermill
// publisher and subscriber. The peer makes its own, with the names the other
// way round:
//
//	toWorker := pairing.Join(pub, sub, "root", "worker")  // in root's process
//	toRoot := pairing.Join(pub, sub, "worker", "root")    // in worker's
//
// It publishes to leat.<self>.<peer> and subscribes to leat.<peer>.<self>; its
// ID is peer. Names are used as they are: with dots in them two pairs may end
// up on one topic, as "a.b" to "c" and "a" to "b.c" do.
//
// pub and sub may be shared by many channels. They belong to the caller, which
// closes them after the links' Done, unless JoinOptions.Close does. What is
// sent before the peer is there is held, and delivered when it is; see bus.Channel.Heartbeat.
// The link ends when the peer leaves, vanishes or restarts: [Connect] attaches again then.
// Each name stands for one process at a time: two that use the same end each other's links.
// Events keep their order if sub hands out one unacked message at a time, in
// order of publication. With a nil sub nothing is subscribed to: feed
// bus.Link.Deliver with what comes on In, for example as a handler of a
// message.Router.
//
// The peer is not trusted with private commands: set Local if it is to be.
//
// Join does not fail. Wrong arguments make a channel that RegisterChannel
// refuses, with an error that wraps bus.ErrInvalidChannel: no pub, an empty
// name, self and peer alike, more than one options struct, topics that are empty or
// alike; and bus.ErrInvalidKeys for keys that are too short or too many.
func Join(pub message.Publisher, sub message.Subscriber, self, peer string, opts ...JoinOptions) *bus.Channel {
	ch, err := join(pub, sub, self, peer, opts)
	if err != nil {
		refuse := refusal{fmt.Errorf("%w: join %q to %q: %w", bus.ErrInvalidChannel, self, peer, err)}
		return &bus.Channel{ID: peer, Publisher: refuse, Out: "none", Subscriber: refuse, In: "none"}
	}
	return ch
}

func join(pub message.Publisher, sub message.Subscriber, self, peer string, opts []JoinOptions) (*bus.Channel, error) {
	var o JoinOptions
	switch {
	case len(opts) > 1:
		return nil, fmt.Errorf("%d options", len(opts))
	case len(opts) == 1:
		o = opts[0]
	}
	switch {
	case pub == nil:
		return nil, errors.New("no publisher")
	case self == "" || peer == "":
		return nil, errors.New("empty name")
	case self == peer:
		return nil, errors.New("a registry cannot be its own peer")
	}
	name := o.topic()
	out, in := name(self, peer), name(peer, self)
	switch {
	case out == "" || in == "":
		return nil, errors.New("empty topic")
	case out == in:
		return nil, fmt.Errorf("both directions have the topic %q", out)
	}
	return &bus.Channel{ID: peer, Publisher: pub, Out: out, Subscriber: sub, In: in, Codec: o.Codec,
		Heartbeat: o.heartbeat(), Keys: o.Keys, Close: o.Close}, nil
}

// defaultHeartbeat is that of JoinOptions.
const defaultHeartbeat = 2 * time.Second

func (o *JoinOptions) heartbeat() time.Duration {
	if o.Heartbeat == 0 {
		return defaultHeartbeat
	}
	return o.Heartbeat
}

// topic returns the function that names the topics.
func (o *JoinOptions) topic() func(sender, receiver string) string {
	if o.Topic != nil {
		return o.Topic
	}
	prefix := o.Prefix
	if prefix == "" {
		prefix = "leat"
	}
	return func(sender, receiver string) string { return prefix + "." + sender + "." + receiver }
}

// refusal is the publisher and subscriber of a channel that was asked for in
// vain.
type refusal struct{ err error }

func (r refusal) Subscribe(context.Context, string) (<-chan *message.Message, error) {
	return nil, r.err
}

func (r refusal) Publish(string, ...*message.Message) error { return r.err }

// Close does nothing: there is nothing.
func (refusal) Close() error { return nil }
