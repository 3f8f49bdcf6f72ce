package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

func TestAPeerLearnsAListThatIsLargerThanOneMessage(t *testing.T) {
	t.Parallel()
	root := newRegistry(t, commands.Config{ID: "root", MaxMessageBytes: 2048})
	for i := range 100 {
		handle(t, root, fmt.Sprintf("some.command.number.%d", i), `1`)
	}
	child := newRegistry(t, commands.Config{ID: "child"})
	join(t, root, child)
	require.Equal(t, 100, child.Stats().Remote)
}

func TestASmallQueueEscalatesEveryCommandToTheTop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		root := newRegistry(t, commands.Config{ID: "root"})
		mid := newRegistry(t, commands.Config{ID: "mid", RouterChannel: "root"})
		child := newRegistry(t, commands.Config{ID: "child", RouterChannel: "mid", QueueSize: 16})
		join(t, root, mid)
		for i := range 200 {
			handle(t, child, fmt.Sprintf("c%d", i), `1`)
		}
		join(t, mid, child)
		synctest.Wait()
		require.Equal(t, 200, root.Stats().Remote)
	})
}

func TestACommandUnregisteredBeforeTheRouterIsReadyIsNotKnownThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		root, child := family(t)
		handle(t, child, "x", `1`)
		toChild, toRoot := pairing.InMemory("child", "root")
		attach(t, child, toRoot)
		require.True(t, child.Unregister("x"))
		attach(t, root, toChild)
		synctest.Wait()
		require.Empty(t, root.Commands())
	})
}

func TestARegistrationThatTimedOutIsForgottenByTheRouter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mid := newRegistry(t, commands.Config{ID: "mid", RouterChannel: "top"})
		child := newRegistry(t, commands.Config{ID: "child", RouterChannel: "mid", RequestTTL: 100 * time.Millisecond})
		top := meet(t, mid, "top", everything&^bus.CanFlush)
		join(t, mid, child)
		registered := make(chan error)
		go func() { registered <- child.RegisterRaw(context.Background(), bus.Definition{ID: "x"}, nothing) }()
		req := top.wants(bus.RegisterRequest)
		require.ErrorIs(t, <-registered, commands.ErrTimeout)
		top.say(bus.Envelope{ID: "ack", Type: bus.RegisterResponse, Thread: req.ID})
		synctest.Wait()
		require.Empty(t, mid.Commands())
	})
}

func TestACommandCanBeRegisteredAgainWhenTheFirstTryWasGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mid := newRegistry(t, commands.Config{ID: "mid", RouterChannel: "top"})
		child := newRegistry(t, commands.Config{ID: "child", RouterChannel: "mid"})
		top := meet(t, mid, "top", everything&^bus.CanFlush)
		join(t, mid, child)
		registered := make(chan error)
		register := func(ctx context.Context) {
			registered <- child.RegisterRaw(ctx, bus.Definition{ID: "x"}, nothing)
		}
		ctx, cancel := context.WithCancel(context.Background())
		go register(ctx)
		first := top.wants(bus.RegisterRequest)
		cancel()
		require.ErrorIs(t, <-registered, context.Canceled)
		go register(context.Background())
		synctest.Wait() // mid has heard of the second while it waits for the first
		top.say(bus.Envelope{ID: "ack", Type: bus.RegisterResponse, Thread: first.ID})
		go func() {
			for {
				select {
				case e := <-top.sent:
					if e.Type == bus.RegisterRequest {
						top.say(bus.Envelope{ID: bus.NewID(), Type: bus.RegisterResponse, Thread: e.ID})
					}
				case <-top.end:
					return
				}
			}
		}()
		require.NoError(t, await(t, registered))
	})
}

func TestABranchThatTakesOverACommandIsNotForgottenAtTheTop(t *testing.T) {
	t.Parallel()
	for range 5 {
		root := newRegistry(t, commands.Config{ID: "root"})
		mid := newRegistry(t, commands.Config{ID: "mid", RouterChannel: "root"})
		first := newRegistry(t, commands.Config{ID: "first", RouterChannel: "mid"})
		second := newRegistry(t, commands.Config{ID: "second", RouterChannel: "mid"})
		join(t, root, mid)
		join(t, mid, first)
		join(t, mid, second)
		handle(t, first, "x", `1`)
		for i := range 30 { // all are withdrawn: there is time to be overtaken
			handle(t, first, fmt.Sprintf("y%d", i), `1`)
		}
		go first.Close()
		registerWhenFree(t, second, "x")
		settle(t, mid, root, second)
		require.Equal(t, "2", executes(t, root, "x"))
		for _, r := range []*commands.Registry{second, first, mid, root} {
			require.NoError(t, r.Close())
		}
	}
}

// registerWhenFree registers a command which somebody else is about to give up.
func registerWhenFree(t *testing.T, r *commands.Registry, id string) {
	t.Helper()
	ctx := within(t)
	err := r.RegisterRaw(ctx, bus.Definition{ID: id}, two)
	for errors.Is(err, commands.ErrDuplicateCommand) {
		err = r.RegisterRaw(ctx, bus.Definition{ID: id}, two)
	}
	require.NoError(t, err)
}

func two(context.Context, json.RawMessage) (json.RawMessage, error) {
	return json.RawMessage(`2`), nil
}

func TestACommandRegisteredAsItIsUnregisteredIsKnownToTheRouter(t *testing.T) {
	t.Parallel()
	root, child := family(t)
	join(t, root, child)
	for range 30 {
		handle(t, child, "x", `1`)
		gone := make(chan struct{})
		go func() {
			child.Unregister("x")
			close(gone)
		}()
		registerWhenFree(t, child, "x")
		<-gone
		settle(t, child)
		require.Equal(t, "2", executes(t, root, "x"))
		child.Unregister("x")
	}
}

func TestCommandsRegisteredWhileAPeerAttachesAreKnownToIt(t *testing.T) {
	t.Parallel()
	for range 10 {
		a := newRegistry(t, commands.Config{ID: "a"})
		b := newRegistry(t, commands.Config{ID: "b"})
		toB, toA := pairing.InMemory("b", "a")
		up := attach(t, b, toA)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = a.RegisterChannel(context.Background(), toB) })
		for i := range 20 {
			handle(t, a, fmt.Sprintf("c%d", i), "1")
		}
		wg.Wait()
		await(t, up.Ready())
		settle(t, a, b)
		require.Len(t, b.Commands(), 20)
	}
}

// The Pub/Sub forgets what nobody has subscribed to: hellos and registrations are lost.
func TestAPeerThatStartsLateIsMetWithAllItsCommands(t *testing.T) {
	t.Parallel()
	for _, late := range []time.Duration{time.Second, 20 * time.Second} {
		t.Run(late.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				pubsub := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, nil)
				t.Cleanup(func() { require.NoError(t, pubsub.Close()) })
				root := newRegistry(t, commands.Config{ID: "root"})
				mid := newRegistry(t, commands.Config{ID: "mid", RouterChannel: "root"})
				leaf := newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "mid"})
				join(t, root, mid)
				handle(t, leaf, "x", `1`)
				up := attach(t, leaf, pairing.Join(pubsub, pubsub, "leaf", "mid"))
				time.Sleep(late)
				down := attach(t, mid, pairing.Join(pubsub, pubsub, "mid", "leaf"))
				await(t, up.Ready())
				await(t, down.Ready())
				synctest.Wait()
				require.Equal(t, "1", executes(t, root, "x"))
			})
		})
	}
}
