package guides_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/fleet"
)

// nats starts a server with JetStream in this process.
func nats(t *testing.T) (url string) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir()})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	require.True(t, s.ReadyForConnections(time.Minute))
	return s.ClientURL()
}

func registry(t *testing.T, cfg commands.Config) *commands.Registry {
	t.Helper()
	r, err := commands.NewRegistry(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return r
}

// open returns a broker. What uses it is made after it, and so closed before it.
func open(t *testing.T, url string) *brokers.Broker {
	t.Helper()
	b, err := brokers.Open(t.Context(), url, brokers.Options{Namespace: "guides"})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	return b
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func ada(context.Context, GetUser) (User, error) { return User{ID: 7, Name: "Ada"}, nil }

func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	ctx, url := within(t), nats(t)

	// The process of the root.
	rootBroker := open(t, url)
	root := registry(t, commands.Config{ID: "root"})
	// snippet: two-root
	toWorker := pairing.Connect(ctx, root, func() (*bus.Channel, error) {
		return rootBroker.Join("root", "worker"), nil
	})
	defer toWorker.Close()
	// end snippet

	// The process of the worker.
	broker := open(t, url)
	worker := registry(t, commands.Config{ID: "worker", RouterChannel: "root"})
	require.NoError(t, commands.Register(ctx, worker, getUser, ada))
	// snippet: two-worker
	toRoot := pairing.Connect(ctx, worker, func() (*bus.Channel, error) {
		return broker.Join("worker", "root"), nil
	})
	defer toRoot.Close()
	// end snippet

	require.NoError(t, ready(ctx, toWorker))
	user, err := commands.Execute(ctx, root, getUser, GetUser{ID: 7})
	require.NoError(t, err)
	assert.Equal(t, "Ada", user.Name)
}

// snippet: two-ready

// ready waits until the peer has answered, and says why it has not.
func ready(ctx context.Context, c *pairing.Connection) error {
	if err := c.Ready(ctx); err != nil {
		return errors.Join(err, c.Stats().LastError)
	}
	return nil
}

// end snippet

func TestOwnPubSub(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	b := open(t, nats(t))
	var pub message.Publisher = b.Publisher()
	var sub message.Subscriber = b.Subscriber()

	// snippet: own-check
	err := pairing.Check(ctx, pub, sub, pairing.CheckOptions{Topic: b.Topic("check"), Bytes: 512 << 10})
	// end snippet
	require.NoError(t, err)

	worker := registry(t, commands.Config{ID: "worker", RouterChannel: "root"})
	root := registry(t, commands.Config{ID: "root"})
	// snippet: own-join
	topic := func(sender, receiver string) string { return b.Topic(sender + "." + receiver) }
	_, err = worker.RegisterChannel(ctx, pairing.Join(pub, sub, "worker", "root", pairing.JoinOptions{Topic: topic}))
	// end snippet
	require.NoError(t, err)
	link, err := root.RegisterChannel(ctx, pairing.Join(pub, sub, "root", "worker", pairing.JoinOptions{Topic: topic}))
	require.NoError(t, err)
	require.NoError(t, link.WaitReady(ctx))
}

// snippet: fleet-start

// join makes the registry one process of the fleet.
func join(ctx context.Context, b *brokers.Broker, r *commands.Registry, id string) (*fleet.Fleet, error) {
	fleet, err := b.Fleet(ctx, fleet.Options{Namespace: "shop", ID: id})
	if err != nil {
		return nil, err
	}
	if _, err := r.RegisterChannel(ctx, fleet.Channel()); err != nil {
		return nil, errors.Join(err, fleet.Close())
	}
	return fleet, fleet.Ready(ctx) // this process hears the others, and they hear it
}

// end snippet

// snippet: fleet-call

func find(ctx context.Context, registry *commands.Registry, fleet *fleet.Fleet) (User, error) {
	if err := fleet.Await(ctx, "user.get"); err != nil { // until another process serves it
		return User{}, err
	}
	return commands.Execute(ctx, registry, getUser, GetUser{ID: 7}) // the less busy of two processes
}

// end snippet

func TestFleet(t *testing.T) {
	t.Parallel()
	ctx, url := within(t), nats(t)
	for n := range 2 {
		b := open(t, url)
		worker := registry(t, commands.Config{ID: fmt.Sprintf("worker-%d", n+1)})
		require.NoError(t, commands.Register(ctx, worker, getUser, ada))
		_, err := join(ctx, b, worker, worker.ID())
		require.NoError(t, err)
	}
	b := open(t, url)
	registry := registry(t, commands.Config{ID: "app"})
	fleet, err := join(ctx, b, registry, "app")
	require.NoError(t, err)

	user, err := find(ctx, registry, fleet)
	require.NoError(t, err)
	assert.Equal(t, "Ada", user.Name)

	// snippet: fleet-key
	user, err = commands.Execute(commands.WithKey(ctx, user.Name), registry, getUser, GetUser{ID: 7}) // one key, one process
	// end snippet
	require.NoError(t, err)
	assert.Equal(t, "Ada", user.Name)

	// snippet: fleet-leave
	err = registry.Shutdown(ctx) // is chosen no more, finishes what it has, says goodbye
	// end snippet
	require.NoError(t, err)
}

// snippet: durable-define

type Payment struct {
	ID    string `json:"id"`
	Cents int    `json:"cents"`
}

var pay = commands.Define[Payment, string]("pay", "Books a payment", commands.Options{Durable: true})

// end snippet

func TestDurable(t *testing.T) {
	t.Parallel()
	ctx, url := within(t), "jetstream"+nats(t)[len("nats"):]
	b := open(t, url)
	worker := registry(t, commands.Config{ID: "worker"})
	// snippet: durable-handler
	err := commands.Register(ctx, worker, pay, func(ctx context.Context, p Payment) (string, error) {
		key := commands.OnceKey(ctx) // the same each time that this request is delivered
		return "booked " + p.ID, book(ctx, key, p)
	})
	// end snippet
	require.NoError(t, err)
	_, err = join(ctx, b, worker, "worker")
	require.NoError(t, err)

	callers := open(t, url)
	registry := registry(t, commands.Config{ID: "app"})
	fleet, err := join(ctx, callers, registry, "app")
	require.NoError(t, err)
	require.NoError(t, fleet.Await(ctx, "pay"))
	p := Payment{ID: "4711", Cents: 990}
	// snippet: durable-call
	receipt, err := commands.Execute(commands.WithOnce(ctx, p.ID), registry, pay, p)
	if errors.Is(err, commands.ErrTimeout) { // it may have run: ask again, with the same key and the same request
		receipt, err = commands.Execute(commands.WithOnce(ctx, p.ID), registry, pay, p)
	}
	// end snippet
	require.NoError(t, err)
	assert.Equal(t, "booked 4711", receipt)
}

func book(_ context.Context, key string, _ Payment) error {
	if key != "4711" {
		return fmt.Errorf("key %q", key)
	}
	return nil
}
