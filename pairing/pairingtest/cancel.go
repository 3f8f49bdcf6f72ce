package pairingtest

import (
	"context"
	"encoding/json"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func cancelRules() []group {
	return []group{
		{"rule03_cancellation_and_deadline_travel", []statement{
			{"cancel_over_three_hops", cancelOverHops, nil},
			{"deadline_over_three_hops", deadlineOverHops, nil},
			{"a_caller_that_waits_in_the_backlog_leaves", cancelInBacklog, nil},
			{"a_cancel_on_the_heels_of_its_request", cancelAtOnce, nil},
			{"closing_cancels_the_handlers_served", closeCancelsHandlers, nil},
			{"closing_is_the_error_not_what_it_did_to_the_handler", closeIsTheError, nil},
			{"closing_fails_waiting_calls_at_once", closeFailsCalls, nil},
			{"closing_fails_routed_calls_at_their_origin", closeFailsRouted, nil},
			{"closing_far_away_cancels_routed_handlers", closeCancelsRouted, nil},
			{"closing_during_nested_calls", closeDuringNested, nil},
		}},
	}
}

func cancelOverHops(k *kit) {
	rs := k.chain(4)
	s := k.stuck(rs[0], "stuck")
	ctx, cancel := context.WithCancel(k.ctx)
	c := k.call(ctx, rs[3], "stuck", "")
	recv(k, s.started, "the handler's start")
	cancel()
	require.Equal(k.t, context.Canceled, recv(k, c, "the answer").err)
	require.Equal(k.t, context.Canceled, recv(k, s.ended, "the handler's end"))
	k.settled(rs...)
}

func deadlineOverHops(k *kit) {
	rs := k.chain(4, requestTTL(k.slow(patience))) // beyond the caller's deadline
	s := k.stuck(rs[3], "stuck")
	ctx, cancel := context.WithTimeout(k.ctx, k.slow(patience)/2)
	defer cancel()
	want, _ := ctx.Deadline()
	c := k.call(ctx, rs[0], "stuck", "")
	handler := recv(k, s.started, "the handler's start")
	got, ok := handler.Deadline()
	require.True(k.t, ok, "the handler's ctx has no deadline")
	require.WithinDuration(k.t, want, got, k.slow(time.Second))
	s.let()
	require.NoError(k.t, recv(k, c, "the answer").err)

	ended := make(chan error, 1)
	k.raw(rs[3], "until.deadline", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	})
	for wait := k.brief(); ; wait *= 2 { // a request that is late does not reach its handler
		ctx, cancel := context.WithTimeout(k.ctx, wait)
		_, err := rs[0].ExecuteRaw(ctx, "until.deadline", nil)
		cancel()
		require.ErrorIs(k.t, err, commands.ErrTimeout)
		select {
		case err := <-ended:
			require.Error(k.t, err)
			k.settled(rs...)
			return
		case <-time.After(wait):
			require.NoError(k.t, k.ctx.Err(), "the deadline does not reach the handler")
		}
	}
}

func cancelInBacklog(k *kit) {
	r := k.registry("r", inFlight(1))
	s := k.stuck(r, "stuck")
	ran := make(chan struct{}, 8)
	k.raw(r, "next", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		ran <- struct{}{}
		return nil, nil
	})
	w, _ := k.wire(r, "peer", everything, `[]`)
	first := w.request("", "stuck", "")
	recv(k, s.started, "the first handler's start")
	left, stays := w.request("", "next", ""), w.request("", "next", "")
	w.send(bus.Envelope{Type: bus.Cancel, Thread: left.ID})
	w.flush()
	require.Equal(k.t, 1, r.Stats().Waiting)
	s.let()
	require.Equal(k.t, first.ID, w.expect(bus.ExecuteResponse).Thread)
	require.Equal(k.t, stays.ID, w.expect(bus.ExecuteResponse).Thread)
	k.settled(r)
	require.Len(k.t, ran, 1, "a request without a caller was run")
}

// cancelAtOnce sends a request and its cancellation together, so that the
// cancellation may find a handler that is about to start.
func cancelAtOnce(k *kit) {
	r := k.registry("r")
	k.raw(r, "x", func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil })
	w, _ := k.wire(r, "peer", everything, `[]`)
	for range k.volume(1000) {
		e := w.request("", "x", "")
		w.send(bus.Envelope{Type: bus.Cancel, Thread: e.ID})
	}
	w.flush()
	k.settled(r)
	s := k.stuck(r, "stuck")
	w.request("", "stuck", "")
	recv(k, s.started, "a handler's start")
	ctx, cancel := context.WithTimeout(k.ctx, k.brief())
	defer cancel()
	require.ErrorIs(k.t, r.Shutdown(ctx), context.DeadlineExceeded, "shutdown does not wait for a handler any more")
}

func closeCancelsHandlers(k *kit) {
	for _, which := range []string{"caller's half", "handler's half"} {
		caller, server := k.registry("caller"), k.registry("server")
		s := k.stuck(server, "stuck")
		toServer, toCaller := k.connect(caller, server)
		c := k.call(k.ctx, caller, "stuck", "")
		recv(k, s.started, "the handler's start")
		if which == "caller's half" {
			require.NoError(k.t, toServer.Close())
		} else {
			require.NoError(k.t, toCaller.Close())
		}
		require.Equal(k.t, context.Canceled, recv(k, s.ended, "the handler's end"), which)
		require.ErrorIs(k.t, recv(k, c, "the answer").err, commands.ErrChannelDisconnected, which)
		k.settled(caller, server)
	}
}

// closeIsTheError holds the server's half open, while it closes, until the
// handler that it has cancelled could have answered.
func closeIsTheError(k *kit) {
	caller, server := k.registry("caller"), k.registry("server", under("caller"))
	s := k.stuck(server, "stuck")
	toServer, toCaller := k.pair("server", "caller")
	answered := make(chan answer, 1)
	closing := toCaller.Closing
	toCaller.Closing = func() {
		k.poll(func() bool { return len(answered) > 0 }, brief)
		if closing != nil {
			closing()
		}
	}
	k.ready(k.attach(caller, toServer), k.attach(server, toCaller))
	k.knows(caller, "stuck")
	go func() {
		_, err := caller.ExecuteRaw(k.ctx, "stuck", nil)
		answered <- answer{err: err}
	}()
	recv(k, s.started, "the handler's start")
	require.NoError(k.t, server.Link("caller").Close())
	require.ErrorIs(k.t, recv(k, answered, "the answer").err, commands.ErrChannelDisconnected)
}

func closeFailsCalls(k *kit) {
	r := k.registry("r")
	w, link := k.wire(r, "mute", everything, `[{"id":"slow"}]`)
	var waiting []<-chan answer
	for range 10 {
		waiting = append(waiting, k.call(k.ctx, r, "slow", ""))
	}
	for range waiting {
		w.expect(bus.ExecuteRequest)
	}
	w.send(bus.Envelope{Type: bus.Goodbye})
	for _, c := range waiting {
		require.ErrorIs(k.t, recv(k, c, "the answer").err, commands.ErrChannelDisconnected)
	}
	k.awaits(link.Done(), "the link's end")
	require.ErrorIs(k.t, link.Err(), bus.ErrPeerClosed)
	k.settled(r)
}

func closeFailsRouted(k *kit) {
	rs := k.chain(3)
	w, link := k.wire(rs[0], "mute", everything, `[{"id":"slow"}]`)
	c := k.call(k.ctx, rs[2], "slow", "")
	w.expect(bus.ExecuteRequest)
	require.NoError(k.t, link.Close())
	require.ErrorIs(k.t, recv(k, c, "the answer").err, commands.ErrChannelDisconnected)
	k.settled(rs...)
}

func closeCancelsRouted(k *kit) {
	rs := k.chain(4)
	s := k.stuck(rs[0], "stuck")
	c := k.call(k.ctx, rs[3], "stuck", "")
	recv(k, s.started, "the handler's start")
	require.NoError(k.t, rs[3].Link("r2").Close())
	require.ErrorIs(k.t, recv(k, c, "the answer").err, commands.ErrChannelDisconnected)
	require.Equal(k.t, context.Canceled, recv(k, s.ended, "the handler's end"))
	k.settled(rs...)
}

func closeDuringNested(k *kit) {
	for _, closer := range []int{0, 1} {
		a, b := k.registry("a"), k.registry("b", under("a"))
		ab, ba := k.connect(a, b)
		s := k.stuck(a, "inner")
		k.raw(b, "outer", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
			return b.ExecuteRaw(ctx, "inner", nil)
		})
		c := k.call(k.ctx, a, "outer", "")
		recv(k, s.started, "the inner handler's start")
		require.NoError(k.t, []*bus.Link{ab, ba}[closer].Close())
		require.ErrorIs(k.t, recv(k, c, "the answer").err, commands.ErrChannelDisconnected)
		require.Error(k.t, recv(k, s.ended, "the inner handler's end"))
		k.awaits(ab.Done(), "a's half's end")
		k.awaits(ba.Done(), "b's half's end")
		k.settled(a, b)
	}
}
