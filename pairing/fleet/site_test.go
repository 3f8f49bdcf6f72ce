package fleet_test

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

// site is one process of the fleet "shop".
type site struct {
	*commands.Registry
	fleet *fleet.Fleet
	link  *bus.Link

	endInbox context.CancelFunc // ends its subscription to the inbox
}

// subscriber is the depot's, of one site.
type subscriber struct {
	message.Subscriber
	site *site
}

func (s subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if strings.Contains(topic, ".inbox.") {
		ctx, s.site.endInbox = context.WithCancel(ctx)
	}
	return s.Subscriber.Subscribe(ctx, topic)
}

type siteOptions struct {
	config commands.Config
	fleet  func(*fleet.Options)
}

func (d *depot) site(t *testing.T, id string, options ...siteOptions) *site {
	t.Helper()
	return d.siteOver(t, d, id, options...)
}

func (d *depot) siteOver(t *testing.T, pub message.Publisher, id string, options ...siteOptions) *site {
	t.Helper()
	return d.siteBetween(t, pub, d, id, options...)
}

func (d *depot) siteBetween(t *testing.T, pub message.Publisher, sub message.Subscriber, id string, options ...siteOptions) *site {
	t.Helper()
	var so siteOptions
	if len(options) > 0 {
		so = options[0]
	}
	so.config.ID, so.config.Logger = id, slog.New(slog.NewTextHandler(io.Discard, nil))
	o := fleet.Options{Namespace: "shop", ID: id, Queue: d.Queue, Lease: 5 * time.Second, Logger: so.config.Logger}
	if so.fleet != nil {
		so.fleet(&o)
	}
	s := &site{}
	var err error
	s.Registry, err = commands.NewRegistry(so.config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	s.fleet, err = fleet.New(t.Context(), pub, subscriber{sub, s}, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.fleet.Close() })
	s.link, err = s.RegisterChannel(t.Context(), s.fleet.Channel())
	require.NoError(t, err)
	require.NoError(t, s.fleet.Ready(t.Context()))
	return s
}

// serve registers a durable command.
func (s *site) serve(t *testing.T, h func(context.Context, pairOf) (int, error)) {
	t.Helper()
	require.NoError(t, commands.Register(t.Context(), s.Registry, jobAdd, h))
}

// serveHeld registers one that says when it has begun, and returns when free is closed.
func (s *site) serveHeld(t *testing.T) (began <-chan struct{}, free chan<- struct{}) {
	t.Helper()
	begins, gate := make(chan struct{}, 1), make(chan struct{})
	s.serve(t, func(ctx context.Context, p pairOf) (int, error) {
		begins <- struct{}{}
		<-gate
		return add(ctx, p)
	})
	return begins, gate
}

func (s *site) can(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), durablePass)
	defer cancel()
	require.NoError(t, s.fleet.Await(ctx, id))
}

// answer is what a call gave.
type answer struct {
	sum int
	err error
}

func (s *site) call(ctx context.Context, a, b int) <-chan answer {
	c := make(chan answer, 1)
	go func() {
		sum, err := commands.Execute(ctx, s.Registry, jobAdd, pairOf{a, b})
		c <- answer{sum, err}
	}()
	return c
}

func got[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(durablePass):
		require.FailNow(t, "nothing came: "+what)
		panic("unreachable")
	}
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, durablePass, 2*time.Millisecond, what)
}

func add(_ context.Context, p pairOf) (int, error) { return p.A + p.B, nil }

// mute is a process whose messages do not leave any more, as if it had been killed.
type mute struct {
	*depot
	topic string // the end of the topics that it is mute on; empty: on all
	dead  atomic.Bool
}

func (m *mute) Publish(topic string, messages ...*message.Message) error {
	if m.dead.Load() && strings.HasSuffix(topic, m.topic) {
		return nil
	}
	return m.depot.Publish(topic, messages...)
}

// behind is a depot whose topics bring nothing of one process before it is told to.
type behind struct {
	*depot
	on   string
	free chan struct{}
}

func (b behind) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	return relayed(ctx, b.depot, topic, func(m *message.Message) *message.Message {
		if strings.Contains(m.Metadata["leat-fleet-from"], b.on) || strings.Contains(string(m.Payload), b.on) {
			m.Ack()
			m = m.Copy()
			select {
			case <-b.free:
			case <-ctx.Done():
			}
		}
		return m
	})
}

// relayed subscribes, and hands on what change makes of each message.
func relayed(ctx context.Context, sub message.Subscriber, topic string, change func(*message.Message) *message.Message) (<-chan *message.Message, error) {
	in, err := sub.Subscribe(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		for m := range in {
			select {
			case out <- change(m):
			case <-ctx.Done():
			}
		}
	}()
	return out, nil
}

// lines is a log.
type lines struct {
	mu sync.Mutex
	strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.String()
}
