package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
)

func TestTwoShutdownsAtOnceBothReturn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, commands.Config{})
		release := make(chan struct{})
		handleFunc(t, r, "x", func(context.Context, json.RawMessage) (json.RawMessage, error) {
			<-release
			return nil, nil
		})
		go func() { _, _ = r.ExecuteRaw(context.Background(), "x", nil) }()
		synctest.Wait()
		ended := make(chan error, 2)
		for range 2 {
			go func() { ended <- r.Shutdown(within(t)) }()
		}
		synctest.Wait()
		close(release)
		require.NoError(t, <-ended)
		require.NoError(t, <-ended)
	})
}

func TestEveryRunThatShutdownWaitsForReachesItsCaller(t *testing.T) {
	t.Parallel()
	for _, p := range pairings {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				root := newRegistry(t, commands.Config{ID: "root"})
				child := newRegistry(t, commands.Config{ID: "child", RouterChannel: "root", MaxInFlight: 4})
				join(t, root, child, p.make())
				var ran, replied atomic.Int64
				handleFunc(t, child, "x", func(context.Context, json.RawMessage) (json.RawMessage, error) {
					time.Sleep(time.Duration(ran.Add(1)%7) * 100 * time.Microsecond)
					return nil, nil
				})
				var callers sync.WaitGroup
				for range 16 {
					callers.Go(func() {
						_, err := root.ExecuteRaw(context.Background(), "x", nil)
						for ; err == nil; _, err = root.ExecuteRaw(context.Background(), "x", nil) {
							replied.Add(1)
						}
						refused := errors.Is(err, commands.ErrChannelDisconnected) || errors.Is(err, commands.ErrNotFound)
						assert.True(t, refused, "%v", err)
					})
				}
				time.Sleep(5 * time.Millisecond)
				require.NoError(t, child.Shutdown(within(t)))
				callers.Wait()
				require.Equal(t, ran.Load(), replied.Load())
			})
		})
	}
}

func TestEverythingMayBeClosedFromAnywhereAtOnce(t *testing.T) {
	t.Parallel()
	for _, p := range pairings {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			for first := range len(closers) {
				synctest.Test(t, func(t *testing.T) { closeFromAnywhere(t, p.make(), first) })
			}
		})
	}
}

type joined struct {
	root, child *commands.Registry
	down, up    *bus.Link
}

var closers = []func(joined){
	func(j joined) { _ = j.root.Close() },
	func(j joined) { _ = j.child.Close() },
	func(j joined) { _ = j.down.Close() },
	func(j joined) { _ = j.up.Close() },
	func(j joined) {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_ = j.root.Shutdown(ctx)
	},
	func(j joined) { _ = j.root.Events().EmitRaw(context.Background(), "e", nil) },
	func(j joined) { j.child.Unregister("x") },
	func(j joined) { _ = j.child.RegisterRaw(context.Background(), bus.Definition{ID: "n"}, nothing) },
}

// closeFromAnywhere has handlers, listeners and others act in turn, beginning with one of the closers.
func closeFromAnywhere(t *testing.T, o pairing.Options, first int) {
	root, child := family(t)
	down, up := join(t, root, child, o)
	j := joined{root, child, down, up}
	var turn atomic.Int64
	turn.Store(int64(first))
	act := func() { closers[(turn.Add(1)-1)%int64(len(closers))](j) }
	handleFunc(t, child, "x", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		act()
		return nil, nil
	})
	_, err := child.Events().ListenRaw("e", func(context.Context, string, json.RawMessage) { act() })
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { _, _ = root.ExecuteRaw(context.Background(), "x", nil) })
		wg.Go(act)
	}
	wg.Wait()
	require.NoError(t, root.Close())
	require.NoError(t, child.Close())
	await(t, down.Done())
	await(t, up.Done())
	s := root.Stats()
	require.Zero(t, s.Pending+s.Serving+s.Remote, "%+v", s)
}

func TestEverythingAfterCloseFailsWithErrClosed(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{})
	require.NoError(t, r.Close())
	ctx := within(t)
	half, _ := pairing.InMemory("a", "b")
	for name, try := range map[string]func() error{
		"execute":  func() error { _, err := r.ExecuteRaw(ctx, "x", nil); return err },
		"register": func() error { return r.RegisterRaw(ctx, bus.Definition{ID: "x"}, nothing) },
		"attach":   func() error { _, err := r.RegisterChannel(ctx, half); return err },
		"emit raw": func() error { return r.Events().EmitRaw(ctx, "x", nil) },
		"emit":     func() error { return events.Emit(ctx, r.Events(), events.Define[int]("a"), 1) },
		"listen": func() error {
			_, err := r.Events().ListenRaw("x", func(context.Context, string, json.RawMessage) {})
			return err
		},
	} {
		assert.ErrorIs(t, try(), commands.ErrClosed, name)
	}
	assert.NoError(t, r.Shutdown(ctx))
}
