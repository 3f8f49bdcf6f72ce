package brokers_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

// cable is what a broker is reached through, and can be cut.
type cable struct {
	listener net.Listener
	to       string
	pumps    sync.WaitGroup

	mu    sync.Mutex
	cut   bool                  // guarded by mu
	conns map[net.Conn]struct{} // guarded by mu
}

func newCable(t testing.TB, to string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cable{listener: l, to: to, conns: make(map[net.Conn]struct{})}
	c.pumps.Go(c.accept)
	t.Cleanup(func() {
		_ = l.Close()
		c.setCut(true)
		c.pumps.Wait()
	})
	return c
}

func (c *cable) accept() {
	for {
		in, err := c.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", c.to)
		if err != nil || !c.add(in, out) {
			_ = in.Close()
			if out != nil {
				_ = out.Close()
			}
			continue
		}
		for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
			c.pumps.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = pair[0].Close()
				_ = pair[1].Close()
			})
		}
	}
}

func (c *cable) add(conns ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		if !c.cut {
			c.conns[conn] = struct{}{}
		}
	}
	return !c.cut
}

// setCut breaks all connections and refuses new ones, or lets them be made again.
func (c *cable) setCut(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut = cut; cut {
		for conn := range c.conns {
			_ = conn.Close()
		}
		clear(c.conns)
	}
}

// cabled returns a broker that is reached through a cable, and one of the same
// namespace that is not.
func cabled(t *testing.T, k kind, opts brokers.Options) (b, direct *brokers.Broker, c *cable) {
	t.Helper()
	address := k.url(t)
	u, err := url.Parse(address)
	require.NoError(t, err)
	c = newCable(t, u.Host)
	o := opts
	if o.Namespace == "" {
		o.Namespace = namespace()
	}
	if k.purge != nil {
		t.Cleanup(func() { k.purge(t, address, o.Namespace) })
	}
	return k.openAt(t, strings.Replace(address, u.Host, c.listener.Addr().String(), 1), o), k.openAt(t, address, o), c
}

// eachCabled is each without those that have no one connection to cut.
func eachCabled(t *testing.T, test func(t *testing.T, k kind)) {
	each(t, func(t *testing.T, k kind) {
		switch k.name {
		case "memory", "gochannel", "kafka": // Kafka's clients connect to where the cluster says
			return
		}
		test(t, k)
	})
}

// TestSubscriptionSurvivesBrokenConnection publishes before, while and after the
// subscriber's connection is broken.
func TestSubscriptionSurvivesBrokenConnection(t *testing.T) {
	t.Parallel()
	eachCabled(t, func(t *testing.T, k kind) {
		b, direct, c := cabled(t, k, brokers.Options{})
		topic := b.Topic("events")
		in := subscribe(t, b, topic)
		publish(t, direct, topic, "before")()
		require.Equal(t, "before", take(t, in))
		for range 2 {
			c.setCut(true)
			if b.Guarantees().Resumes {
				publish(t, direct, topic, numbers(50)...)()
			}
			c.setCut(false)
			if b.Guarantees().Resumes {
				for _, want := range numbers(50) {
					got := take(t, in)
					for got == "before" || got == "again" { // its ack was lost
						got = take(t, in)
					}
					require.Equal(t, want, got)
				}
			}
			// What is said until it has reconnected is lost where nothing is kept.
			comesBack(t, direct, topic, in)
		}
	})
}

// comesBack publishes until the subscription hears of it.
func comesBack(t *testing.T, b *brokers.Broker, topic string, in <-chan *message.Message) {
	t.Helper()
	giveUp := time.Now().Add(patience)
	for time.Now().Before(giveUp) {
		publish(t, b, topic, "again")()
		select {
		case m := <-in:
			m.Ack()
			if string(m.Payload) == "again" {
				return
			}
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatal("the subscription has not come back")
}

// TestPublishFailsWhileBroken: it does not lose silently, nor hang.
func TestPublishFailsWhileBroken(t *testing.T) {
	t.Parallel()
	eachCabled(t, func(t *testing.T, k kind) {
		b, direct, c := cabled(t, k, brokers.Options{PublishRetry: 200 * time.Millisecond})
		topic := b.Topic("events")
		in := subscribe(t, direct, topic)
		c.setCut(true)
		require.Eventually(t, func() bool { return b.Publisher().Publish(topic, text("lost")) != nil }, patience, time.Millisecond)
		c.setCut(false)
		require.Eventually(t, func() bool { return b.Publisher().Publish(topic, text("back")) == nil }, patience, 10*time.Millisecond)
		for take(t, in) != "back" {
		}
	})
}

// TestJoinAndBrokenConnection: a link survives where nothing is lost, and ends at
// once where something may be.
func TestJoinAndBrokenConnection(t *testing.T) {
	t.Parallel()
	eachCabled(t, func(t *testing.T, k kind) {
		b, direct, c := cabled(t, k, brokers.Options{})
		root, err := commands.NewRegistry(commands.Config{ID: "root"})
		require.NoError(t, err)
		defer func() { require.NoError(t, root.Close()) }()
		worker, err := commands.NewRegistry(commands.Config{ID: "worker", RouterChannel: "root"})
		require.NoError(t, err)
		defer func() { require.NoError(t, worker.Close()) }()
		toRoot, err := worker.RegisterChannel(t.Context(), b.Join("worker", "root"))
		require.NoError(t, err)
		_, err = root.RegisterChannel(t.Context(), direct.Join("root", "worker"))
		require.NoError(t, err)
		<-toRoot.Ready()
		double := commands.Define[int, int]("double", "Doubles")
		require.NoError(t, commands.Register(t.Context(), worker, double, func(_ context.Context, n int) (int, error) { return 2 * n, nil }))
		c.setCut(true)
		if !b.Guarantees().Resumes {
			<-toRoot.Done()
			require.ErrorIs(t, toRoot.Err(), bus.ErrPeerClosed)
			require.EqualValues(t, 1, b.Stats().Gaps)
			c.setCut(false)
			return
		}
		answer := make(chan error, 1)
		go func() {
			got, err := commands.Execute(t.Context(), root, double, 21)
			if err == nil && got != 42 {
				t.Errorf("%d", got)
			}
			answer <- err
		}()
		c.setCut(false)
		select {
		case err := <-answer:
			require.NoError(t, err)
		case <-time.After(2 * patience):
			t.Fatal("a call hangs")
		}
		require.NoError(t, toRoot.Err(), "the link goes on")
		require.Eventually(t, func() bool {
			got, err := commands.Execute(t.Context(), root, double, 4)
			return err == nil && got == 8
		}, 2*patience, time.Millisecond)
	})
}

// TestNATSRefusesASubscription: it is not taken for a live one.
func TestNATSRefusesASubscription(t *testing.T) {
	t.Parallel()
	s := startNATS(t, &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, Users: []*server.User{{
		Username: "u", Password: "p", Permissions: &server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{"deny.>"}}},
	}}})
	b := kind{}.openAt(t, strings.Replace(s.ClientURL(), "nats://", "nats://u:p@", 1), brokers.Options{Namespace: "deny", SubscribeTimeout: 200 * time.Millisecond})
	_, err := b.Subscriber().Subscribe(t.Context(), b.Topic("topic"))
	require.ErrorIs(t, err, brokers.ErrNotLive)
	_, err = bus.New(bus.Options{ID: "a"}).Attach(t.Context(), b.Join("a", "b"))
	require.ErrorIs(t, err, brokers.ErrNotLive)
	_, err = b.Fleet(t.Context(), fleet.Options{ID: "a"})
	require.ErrorIs(t, err, brokers.ErrNotLive)
	require.Zero(t, b.Stats().Subscriptions)
}
