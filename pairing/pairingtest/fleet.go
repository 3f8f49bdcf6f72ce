package pairingtest

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

// Broker makes what one process of a fleet has of a broker: a publisher, a subscriber that gets every message of its
// topics, and in the options whatever the broker asks for (Topic, MaxMessageBytes, Close). Called for each process
// that a test makes, on the test's goroutine; all of them must reach each other. Namespaces are the kit's, and
// new for each test, so that one broker can be used for all. What the broker makes is released in t.Cleanup, or by Close.
type Broker func(t testing.TB) (message.Publisher, message.Subscriber, fleet.Options)

// RunFleet runs every promise of fleet.Fleet against the broker, in parallel subtests: as [Run] does for channels.
// Of the features only Ordered, Slowness and Fewer count.
func RunFleet(t *testing.T, b Broker, features Features) {
	features = features.withDefaults()
	for _, g := range fleetGroups() {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			for _, s := range g.statements {
				if s.needs != nil && !s.needs(features) {
					continue
				}
				t.Run(s.name, func(t *testing.T) {
					t.Parallel()
					s.check(newFleetKit(t, b, features))
				})
			}
		})
	}
}

type fleetGroup struct {
	name       string
	statements []fleetStatement
}

type fleetStatement struct {
	name  string
	check func(*fleetKit)
	needs func(Features) bool // nil: every broker
}

func fleetGroups() []fleetGroup {
	return []fleetGroup{
		{"calls", fleetCalls()},
		{"choice", fleetChoice()},
		{"tree", fleetTree()},
		{"events", fleetEvents()},
		{"listener_groups", fleetListenerGroups()},
		{"departures", fleetDepartures()},
		{"life_cycle", fleetLife()},
		{"redelivery", fleetRedelivery()},
		{"keys", fleetKeys()},
	}
}

// fleetKit is what one subtest of RunFleet works with: a kit, and one fleet.
type fleetKit struct {
	*kit
	broker    Broker
	namespace string
}

var fleetSerial atomic.Int64

func newFleetKit(t *testing.T, b Broker, features Features) *fleetKit {
	return &fleetKit{
		kit:       newKit(t, nil, features),
		broker:    b,
		namespace: "t" + strconv.FormatInt(time.Now().UnixNano(), 36) + "-" + strconv.FormatInt(fleetSerial.Add(1), 36),
	}
}

// lease is that of tests in which one has to lapse.
func (k *fleetKit) lease() time.Duration { return k.slow(2 * time.Second) }

// node is one process: a registry that is attached to a fleet.
type node struct {
	*commands.Registry
	fleet *fleet.Fleet
	link  *bus.Link
	net   *network
}

// nodeOptions are what a test wants different.
type nodeOptions struct {
	registry func(*commands.Config)
	fleet    func(*fleet.Options)
	publish  func(next message.Publisher) message.Publisher
}

// node makes a process and waits until it has joined.
func (k *fleetKit) node(id string, options ...nodeOptions) *node {
	k.t.Helper()
	n := &node{}
	var cfgs []func(*commands.Config)
	pub, sub, o := k.broker(k.t)
	for _, opt := range options {
		if opt.registry != nil {
			cfgs = append(cfgs, opt.registry)
		}
		if opt.publish != nil {
			pub = opt.publish(pub)
		}
	}
	n.Registry = k.registry(id, cfgs...)
	n.net = &network{pub: pub, sub: sub}
	o.Namespace, o.ID, o.Lease, o.Logger = k.namespace, id, k.slow(20*time.Second), silentLogger
	for _, opt := range options {
		if opt.fleet != nil {
			opt.fleet(&o)
		}
	}
	var err error
	n.fleet, err = fleet.New(k.ctx, n.net, n.net, o)
	require.NoError(k.t, err)
	k.t.Cleanup(func() { _ = n.fleet.Close() })
	n.link = k.attach(n.Registry, n.fleet.Channel())
	require.NoError(k.t, n.fleet.Ready(k.ctx))
	k.ready(n.link)
	return n
}

// nodes makes several, which all know each other.
func (k *fleetKit) nodes(count int, options ...nodeOptions) []*node {
	k.t.Helper()
	var all []*node
	for i := range count {
		all = append(all, k.node("p"+strconv.Itoa(i), options...))
	}
	k.met(all...)
	return all
}

// met waits until all know each other.
func (k *fleetKit) met(all ...*node) {
	k.t.Helper()
	for _, n := range all {
		k.eventually(n.ID()+" knows the others", func() bool { return len(n.fleet.Members()) == len(all)-1 })
	}
}

// can waits until all others can call what n serves.
func (k *fleetKit) can(all []*node, commands ...string) {
	k.t.Helper()
	for _, n := range all {
		require.NoErrorf(k.t, n.fleet.Await(k.ctx, commands...), "%s waits for %v", n.ID(), commands)
	}
}

// serves waits until n knows exactly that many processes to serve the command.
func (k *fleetKit) serves(n *node, id string, count int) {
	k.t.Helper()
	k.eventually(n.ID()+" knows "+strconv.Itoa(count)+" that serve "+id, func() bool {
		found := 0
		for _, m := range n.fleet.Members() {
			for _, c := range m.Commands {
				if c == id {
					found++
				}
			}
		}
		return found == count
	})
}

// rest waits until nothing is in flight, in the registries and in the fleets.
func (k *fleetKit) rest(all ...*node) {
	k.t.Helper()
	for _, n := range all {
		k.settled(n.Registry)
		var s fleet.Stats
		k.poll(func() bool {
			s = n.fleet.Stats()
			return s.Pending == 0 && s.Serving == 0 && s.Queued == 0
		}, patience)
		require.Zerof(k.t, s.Pending, "%s: calls that wait: %+v", n.ID(), s)
		require.Zerof(k.t, s.Serving, "%s: requests that are served: %+v", n.ID(), s)
		require.Zerof(k.t, s.Queued, "%s: messages that wait: %+v", n.ID(), s)
	}
}

// network is what is between one process and the broker, so that a test can cut it off.
type network struct {
	pub message.Publisher
	sub message.Subscriber
	cut atomic.Bool // nothing goes through, either way
}

func (n *network) Publish(topic string, messages ...*message.Message) error {
	if n.cut.Load() {
		return nil
	}
	return n.pub.Publish(topic, messages...)
}

func (n *network) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	in, err := n.sub.Subscribe(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		for m := range in {
			if n.cut.Load() {
				m.Ack()
				continue
			}
			select {
			case out <- m:
			case <-ctx.Done():
				m.Ack()
			}
		}
	}()
	return out, nil
}

// Close does nothing: the broker's are the broker's.
func (*network) Close() error { return nil }
