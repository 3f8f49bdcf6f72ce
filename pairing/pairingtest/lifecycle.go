package pairingtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func lifecycleRules() []group {
	return []group{
		{"rule17_attach_close_shutdown_at_any_time", []statement{
			{"close_and_shutdown_are_idempotent", idempotentClose, nil},
			{"close_from_a_handler_and_from_a_listener", closeFromInside, nil},
			{"a_taken_channel_id_is_refused", takenID, nil},
			{"a_failed_attach_leaves_nothing", failedAttach, nil},
			{"a_channel_is_single_use", singleUse, nil},
			{"attaching_does_not_wait_for_the_peer", attachAlone, holds},
			{"ready_means_that_the_peer_s_commands_are_known", readyKnows, nil},
			{"held_before_attach", heldBeforeAttach, holds},
			{"a_lost_handshake_is_repeated", handshakeRepeated, loses},
			{"after_close_everything_is_closed", afterClose, nil},
			{"attach_again_and_again_under_one_id", attachAgain, nil},
			{"hammered_from_many_goroutines", hammered, nil},
		}},
		{"rule18_shutdown", shutdownStatements()},
		{"rule19_closing_one_half", closingStatements()},
		{"rule19_presence", presenceStatements()},
		{"rule20_bad_input_is_counted", inputStatements()},
		{"rule26_shared_keys", keyStatements()},
	}
}

func idempotentClose(k *kit) {
	for i := range 4 {
		a, b := k.registry("a"), k.registry("b")
		ab, ba := k.connect(a, b)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _ = ab.Close() })
			wg.Go(func() { _ = ba.Close() })
			if i%2 == 0 {
				wg.Go(func() { _ = a.Close() })
				wg.Go(func() { _ = b.Shutdown(k.ctx) })
			}
		}
		wg.Wait()
		k.awaits(ab.Done(), "a's half's end")
		k.awaits(ba.Done(), "b's half's end")
		require.Error(k.t, ab.Err())
		require.Error(k.t, ba.Err())
		for range 2 {
			require.NoError(k.t, a.Close())
			require.NoError(k.t, a.Shutdown(k.ctx))
			require.NoError(k.t, b.Shutdown(k.ctx))
		}
	}
}

func closeFromInside(k *kit) {
	for _, close := range []func(r *commands.Registry, l *bus.Link) error{
		func(_ *commands.Registry, l *bus.Link) error { return l.Close() },
		func(r *commands.Registry, _ *bus.Link) error { return r.Close() },
	} {
		a, b := k.registry("a"), k.registry("b")
		ab, ba := k.connect(a, b)
		closed := make(chan error, 1)
		k.raw(b, "close", func(context.Context, json.RawMessage) (json.RawMessage, error) {
			closed <- close(b, ba)
			return nil, nil
		})
		k.flush(b)
		k.fails(a, "close", commands.ErrChannelDisconnected)
		require.NoError(k.t, recv(k, closed, "the handler's close"))
		k.awaits(ab.Done(), "the peer's half's end")

		c, d := k.registry("c"), k.registry("d")
		cd, dc := k.connect(c, d)
		_, err := d.Events().ListenRaw("close", func(context.Context, string, json.RawMessage) { closed <- close(d, dc) })
		require.NoError(k.t, err)
		k.emit(c, "close", "")
		require.NoError(k.t, recv(k, closed, "the listener's close"))
		k.awaits(cd.Done(), "the peer's half's end")
	}
}

func takenID(k *kit) {
	a, b := k.registry("a"), k.registry("b")
	ab, _ := k.connect(a, b)
	again, _ := k.pair("b", "a")
	_, err := a.RegisterChannel(k.ctx, again)
	require.ErrorIs(k.t, err, bus.ErrDuplicateChannel)
	k.echo(b, "echo")
	k.flush(b)
	require.Equal(k.t, "1", k.ok(a, "echo", "1"), "the first channel goes on")
	require.Equal(k.t, []string{"b"}, a.Channels())
	require.NoError(k.t, ab.Close())
	l := k.attach(a, again)
	require.NoError(k.t, l.Close(), "the refused one can be attached when the ID is free")
}

// unwilling is a subscriber that refuses.
type unwilling struct{ message.Subscriber }

var errUnwilling = errors.New("not today")

func (unwilling) Subscribe(context.Context, string) (<-chan *message.Message, error) {
	return nil, errUnwilling
}

func failedAttach(k *kit) {
	a, b := k.registry("a"), k.registry("b", under("a"))
	toB, toA := k.pair("b", "a")
	k.attach(b, toA)
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	_, err := a.RegisterChannel(ctx, toB)
	require.ErrorIs(k.t, err, context.Canceled)
	good := toB.Subscriber
	toB.Subscriber = unwilling{good}
	_, err = a.RegisterChannel(k.ctx, toB)
	require.ErrorIs(k.t, err, errUnwilling)
	require.Empty(k.t, a.Channels())
	require.Zero(k.t, a.Stats().Bus.Links)
	toB.Subscriber = good
	k.ready(k.attach(a, toB))
	k.echo(a, "echo")
	require.Equal(k.t, "1", k.ok(b, "echo", "1"))
	_, err = a.RegisterChannel(k.ctx, nil)
	require.ErrorIs(k.t, err, bus.ErrInvalidChannel)
}

func singleUse(k *kit) {
	a, b := k.registry("a"), k.registry("b")
	toB, toA := k.pair("b", "a")
	ab, ba := k.attach(a, toB), k.attach(b, toA)
	k.ready(ab, ba)
	require.NoError(k.t, ab.Close())
	k.awaits(ba.Done(), "the peer's half's end")
	for _, r := range []*commands.Registry{a, k.registry("c")} {
		_, err := r.RegisterChannel(k.ctx, toB)
		require.ErrorIs(k.t, err, bus.ErrInvalidChannel)
	}
}

// attachAlone attaches one half only, uses it, and closes it.
func attachAlone(k *kit) {
	a := k.registry("a", under("b"), requestTTL(k.brief()))
	toB, _ := k.pair("b", "a")
	l := k.attach(a, toB)
	require.Equal(k.t, []string{"b"}, a.Channels())
	k.emit(a, "x", "1")
	k.fails(a, "some.command", commands.ErrTimeout)
	select {
	case <-l.Ready():
		k.t.Fatal("ready without a peer")
	default:
	}
	require.NoError(k.t, l.Close())
	require.ErrorIs(k.t, l.Err(), bus.ErrClosed)
	k.settled(a)
}

// readyKnows lists so many commands that taking them takes a while.
func readyKnows(k *kit) {
	a, b := k.registry("a"), k.registry("b")
	for i := range 1000 {
		k.echo(b, fmt.Sprintf("z%03d", i))
	}
	k.connect(a, b)
	require.True(k.t, has(a, "z999"), "ready before the list of the peer's commands was taken")
	require.Equal(k.t, "1", k.ok(a, "z999", "1"))
}

func heldBeforeAttach(k *kit) {
	a, b := k.registry("a", under("b")), k.registry("b")
	k.echo(b, "echo")
	heard := k.inbox(b, "x", 100)
	require.NoError(k.t, registers(k, a, "early"))
	toB, toA := k.pair("b", "a")
	k.attach(a, toB)
	for i := range 100 {
		k.emit(a, "x", strconv.Itoa(i))
	}
	c := k.call(k.ctx, a, "echo", "1")
	registered := registering(k, k.ctx, a, "later")
	k.eventually("the requests are under way", func() bool { return a.Stats().Pending == 3 })
	k.ready(k.attach(b, toA))
	require.NoError(k.t, recv(k, registered, "the registration"))
	require.Equal(k.t, "1", string(recv(k, c, "the answer").body))
	k.awaits(heard.full, "all events")
	if k.Ordered {
		inOrder(k, heard.list())
	}
	require.Equal(k.t, `"a"`, k.ok(b, "early", ""))
	require.Equal(k.t, `"a"`, k.ok(b, "later", ""))
	k.settled(a, b)
}

func handshakeRepeated(k *kit) {
	a, b := k.registry("a"), k.registry("b")
	toB, toA := k.factory(k.t, "b", "a")
	first := k.attach(a, toB)
	k.ready(k.attach(b, toA), first)
	require.True(k.t, first.Understands(everything))
}

func afterClose(k *kit) {
	a, b := k.registry("a"), k.registry("b", under("a"))
	ab, ba := k.connect(a, b)
	k.echo(b, "echo")
	l, err := b.Events().ListenRaw("x", func(context.Context, string, json.RawMessage) {})
	require.NoError(k.t, err)
	require.NoError(k.t, b.Close())
	k.awaits(ba.Done(), "b's half's end")
	k.awaits(ab.Done(), "a's half's end")
	k.awaits(l.Done(), "the listener's end")
	require.ErrorIs(k.t, ba.Err(), commands.ErrClosed)
	require.ErrorIs(k.t, ab.Err(), bus.ErrPeerClosed)
	for what, err := range map[string]error{
		"call":     k.fails(b, "echo", commands.ErrChannelDisconnected),
		"register": registers(k, b, "y"),
		"emit":     b.Events().EmitRaw(k.ctx, "x", nil),
		"send":     ba.Send(bus.Envelope{ID: "1", Type: bus.Event, Name: "x"}),
	} {
		require.ErrorIs(k.t, err, commands.ErrClosed, what)
	}
	_, err = b.Events().ListenRaw("x", func(context.Context, string, json.RawMessage) {})
	require.ErrorIs(k.t, err, commands.ErrClosed)
	late, _ := k.pair("late", "b")
	_, err = b.RegisterChannel(k.ctx, late)
	require.ErrorIs(k.t, err, commands.ErrClosed)
	require.Empty(k.t, b.Channels())
	k.fails(a, "echo", commands.ErrNotFound)
	if late.Close != nil { // it was never attached: it is the kit's
		_ = late.Close()
	}
}

func attachAgain(k *kit) {
	a, b := k.registry("a"), k.registry("b", under("a"))
	k.echo(b, "echo")
	for i := range 10 {
		ab, ba := k.connect(a, b)
		k.knows(a, "echo")
		require.Equal(k.t, "1", k.ok(a, "echo", "1"))
		half := []*bus.Link{ab, ba}[i%2]
		require.NoError(k.t, half.Close())
		k.awaits(ab.Done(), "a's half's end")
		k.awaits(ba.Done(), "b's half's end")
	}
	k.settled(a, b)
}
