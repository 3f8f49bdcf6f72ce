package pairingtest

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

func fleetLife() []fleetStatement {
	return []fleetStatement{
		{"close_is_idempotent_and_final", fleetCloseFinal, nil},
		{"close_by_a_handler_and_by_a_listener", fleetClosedFromInside, nil},
		{"close_at_any_time_from_anywhere", closeAnytime, nil},
		{"ready_and_await_end_with_their_ctx_and_with_the_fleet", readyEnds, nil},
		{"the_channel_is_single_use", fleetSingleUse, nil},
		{"a_fleet_without_a_registry_sees_the_others", observer, nil},
	}
}

func fleetCloseFinal(k *fleetKit) {
	all := k.nodes(2)
	n := all[0]
	for range 3 {
		require.NoError(k.t, n.fleet.Close())
		require.NoError(k.t, n.fleet.Leave(k.ctx))
	}
	k.awaits(n.fleet.Done(), "the end")
	require.ErrorIs(k.t, n.fleet.Err(), bus.ErrClosed)
	k.awaits(n.link.Done(), "the end of its link, which notices on a goroutine of its own")
	require.Empty(k.t, n.Registry.Channels())
	k.eventually("the other one has heard it", func() bool { return len(all[1].fleet.Members()) == 0 })
	r := k.registry("other")
	_, err := r.RegisterChannel(k.ctx, n.fleet.Channel())
	require.Error(k.t, err)
}

func fleetClosedFromInside(k *fleetKit) {
	caller, team := k.team(2)
	closed := make(chan error, 2)
	k.raw(team[0].Registry, "close.me", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		closed <- team[0].fleet.Close()
		return nil, nil
	})
	require.NoError(k.t, caller.fleet.Await(k.ctx, "close.me"))
	k.fails(caller.Registry, "close.me", commands.ErrChannelDisconnected)
	require.NoError(k.t, recv(k.kit, closed, "Close"))
	_, err := team[1].Events().ListenRaw("close", func(context.Context, string, json.RawMessage) { closed <- team[1].fleet.Close() })
	require.NoError(k.t, err)
	k.emit(caller.Registry, "close", "")
	require.NoError(k.t, recv(k.kit, closed, "Close"))
	k.eventually("nobody is left", func() bool { return len(caller.fleet.Members()) == 0 })
}

// closeAnytime has processes end in every way while they call each other and emit.
func closeAnytime(k *fleetKit) {
	stay := k.node("stay")
	k.says(stay.Registry, "who", `"stay"`)
	ends := []func(*node){
		func(n *node) { _ = n.fleet.Close() },
		func(n *node) { _ = n.Registry.Close() },
		func(n *node) { _ = n.link.Close() },
		func(n *node) { _ = n.fleet.Leave(k.ctx) },
		func(n *node) { _ = n.Shutdown(k.ctx) },
		func(n *node) { go n.fleet.Close(); go n.Registry.Close(); _ = n.fleet.Leave(k.ctx) }, //nolint:errcheck // whoever is first
	}
	for i, end := range ends {
		n := k.node("n" + strconv.Itoa(i))
		k.says(n.Registry, "who", `"n"`)
		k.serves(stay, "who", 1)
		k.can([]*node{n}, "who")
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for _, r := range []*commands.Registry{stay.Registry, n.Registry} {
			wg.Go(func() {
				pace := time.NewTicker(time.Duration(k.Features.Fewer) * 200 * time.Microsecond) // else events pile up
				defer pace.Stop()
				for {
					select {
					case <-stop:
						return
					case <-pace.C:
					}
					_, _ = r.ExecuteRaw(k.ctx, "who", nil)
					_ = r.Events().EmitRaw(k.ctx, "e", nil)
				}
			})
		}
		end(n)
		k.awaits(n.fleet.Done(), "the end of "+n.ID())
		close(stop)
		wg.Wait()
		k.eventually("stay has forgotten it", func() bool { return len(stay.fleet.Members()) == 0 })
	}
	k.rest(stay)
}

func readyEnds(k *fleetKit) {
	_, sub, o := k.broker(k.t)
	o.Namespace, o.ID, o.Logger = k.namespace, "mute", silentLogger
	f, err := fleet.New(k.ctx, mute{}, sub, o)
	require.NoError(k.t, err)
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	require.ErrorIs(k.t, f.Ready(ctx), context.Canceled, "nothing comes back")
	require.ErrorIs(k.t, f.Await(ctx, "x"), context.Canceled)
	waits := make(chan error, 2)
	go func() { waits <- f.Ready(k.ctx) }()
	go func() { waits <- f.Await(k.ctx, "x") }()
	require.NoError(k.t, f.Close())
	require.ErrorIs(k.t, recv(k.kit, waits, "Ready or Await"), bus.ErrClosed)
	require.ErrorIs(k.t, recv(k.kit, waits, "Ready or Await"), bus.ErrClosed)
}

// mute publishes nothing.
type mute struct{}

func (mute) Publish(string, ...*message.Message) error { return nil }
func (mute) Close() error                              { return nil }

func fleetSingleUse(k *fleetKit) {
	n := k.node("n")
	_, err := k.registry("other").RegisterChannel(k.ctx, n.fleet.Channel())
	require.ErrorIs(k.t, err, bus.ErrInvalidChannel)
}

func observer(k *fleetKit) {
	caller, _ := k.team(2)
	pub, sub, o := k.broker(k.t)
	o.Namespace, o.ID, o.Logger = k.namespace, "observer", silentLogger
	f, err := fleet.New(k.ctx, pub, sub, o)
	require.NoError(k.t, err)
	defer func() { _ = f.Close() }()
	require.NoError(k.t, f.Await(k.ctx, "who"))
	k.eventually("it sees all", func() bool { return len(f.Members()) == 3 })
	k.eventually("it is seen", func() bool { return len(caller.fleet.Members()) == 3 })
}
