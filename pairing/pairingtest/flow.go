package pairingtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func flowRules() []group {
	return []group{
		{"rule04_nothing_waits_for_what_it_does_not_need", []statement{
			{"a_slow_handler_delays_no_other_call", slowHandler, nil},
			{"a_reply_is_not_behind_slow_listeners", replyPastListeners, nil},
			{"nested_to_depth_16_at_cap_1", func(k *kit) { nestedTo16(k, k.chain(2, inFlight(1))) }, nil},
			{"nested_through_relays_at_cap_1", func(k *kit) { nestedTo16(k, k.chain(4, inFlight(1))) }, nil},
			{"many_nested_through_a_relay_at_cap_4", manyNested, nil},
			{"deeper_than_16_is_internal_error", tooDeep, nil},
			{"a_thousand_nested_calls_by_one_handler", thousandNested, nil},
			{"over_the_cap_requests_wait", overTheCap, nil},
			{"over_the_backlog_requests_are_refused", overTheBacklog, nil},
		}},
		{"rule05_errors_cross_as_codes", []statement{
			{"codes_over_three_hops", codesOverHops, nil},
			{"text_of_a_plain_error_once_and_unprefixed", plainError, nil},
			{"panic_costs_one_call", panicCostsOne, nil},
			{"goexit_costs_one_call", goexitCostsOne, nil},
			{"unknown_code_is_internal", unknownCode, nil},
			{"not_found_by_a_handler_is_an_answer", notFoundByHandler, nil},
		}},
	}
}

func slowHandler(k *kit) {
	root, worker := k.couple()
	s := k.stuck(worker, "stuck")
	k.echo(worker, "echo")
	c := k.call(k.ctx, root, "stuck", "")
	recv(k, s.started, "the handler's start")
	for i := range 100 {
		require.Equal(k.t, strconv.Itoa(i), k.ok(root, "echo", strconv.Itoa(i)))
	}
	s.let()
	require.NoError(k.t, recv(k, c, "the answer").err)
}

func replyPastListeners(k *kit) {
	root, worker := k.couple()
	k.echo(worker, "echo")
	release := make(chan struct{})
	defer close(release)
	_, err := root.Events().ListenRaw(">", func(context.Context, string, json.RawMessage) { <-release })
	require.NoError(k.t, err)
	for range k.volume(1000) {
		require.NoError(k.t, worker.Events().EmitRaw(k.ctx, "noise", encoded("1")))
	}
	require.Equal(k.t, "1", k.ok(root, "echo", "1"))
}

// descend registers, at the two ends, commands that call each other until
// nothing of the number they get is left.
func descend(k *kit, ends [2]*commands.Registry) {
	for i, r := range ends {
		other := fmt.Sprintf("down.%d", 1-i)
		k.raw(r, fmt.Sprintf("down.%d", i), func(ctx context.Context, req json.RawMessage) (json.RawMessage, error) {
			n, err := strconv.Atoi(string(req))
			if err != nil || n == 0 {
				return encoded(`"bottom"`), err
			}
			return r.ExecuteRaw(ctx, other, encoded(strconv.Itoa(n-1)))
		})
	}
}

func nestedTo16(k *kit, rs []*commands.Registry) {
	ends := [2]*commands.Registry{rs[0], rs[len(rs)-1]}
	descend(k, ends)
	for i, r := range ends {
		require.Equal(k.t, `"bottom"`, k.ok(r, fmt.Sprintf("down.%d", 1-i), "16"))
	}
	k.settled(rs...)
}

func manyNested(k *kit) {
	rs := k.chain(3, inFlight(4))
	ends := [2]*commands.Registry{rs[0], rs[2]}
	descend(k, ends)
	var calls []<-chan answer
	for i := range k.volume(100) {
		calls = append(calls, k.call(k.ctx, ends[i%2], fmt.Sprintf("down.%d", 1-i%2), strconv.Itoa(i%17)))
	}
	for _, c := range calls {
		a := recv(k, c, "the answer")
		require.NoError(k.t, a.err)
		require.Equal(k.t, `"bottom"`, string(a.body))
	}
	k.settled(rs...)
}

func tooDeep(k *kit) {
	rs := k.chain(2, inFlight(1))
	descend(k, [2]*commands.Registry{rs[0], rs[1]})
	_, err := rs[0].ExecuteRaw(k.ctx, "down.1", encoded("40"))
	require.ErrorIs(k.t, err, commands.ErrInternal)
	require.Equal(k.t, `"bottom"`, k.ok(rs[0], "down.1", "3"))
	k.settled(rs...)
}

func thousandNested(k *kit) {
	root, worker := k.couple(inFlight(4))
	var running gauge
	k.raw(worker, "leaf", func(_ context.Context, req json.RawMessage) (json.RawMessage, error) {
		running.enter()
		defer running.leave()
		runtime.Gosched()
		return req, nil
	})
	n := k.volume(1000)
	k.raw(root, "many", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				body, err := root.ExecuteRaw(ctx, "leaf", encoded(strconv.Itoa(i)))
				if err == nil && string(body) != strconv.Itoa(i) {
					err = fmt.Errorf("call %d returned %s", i, body)
				}
				errs[i] = err
			})
		}
		wg.Wait()
		return encoded(`"done"`), errors.Join(errs...)
	})
	require.Equal(k.t, `"done"`, k.ok(worker, "many", ""))
	require.LessOrEqual(k.t, running.most.Load(), int64(4), "more handlers ran than MaxInFlight")
	k.settled(root, worker)
}

func overTheCap(k *kit) {
	root, worker := k.couple(inFlight(2))
	s := k.stuck(worker, "stuck")
	var calls []<-chan answer
	for range 6 {
		calls = append(calls, k.call(k.ctx, root, "stuck", ""))
	}
	recv(k, s.started, "the first handler's start")
	recv(k, s.started, "the second handler's start")
	k.eventually("four requests wait", func() bool { return worker.Stats().Waiting == 4 })
	require.Empty(k.t, s.started)
	s.let()
	for _, c := range calls {
		require.NoError(k.t, recv(k, c, "the answer").err)
	}
	k.settled(root, worker)
}

func overTheBacklog(k *kit) {
	root, worker := k.couple(inFlight(1), func(c *commands.Config) { c.MaxBacklog = 2 })
	s := k.stuck(worker, "stuck")
	var calls []<-chan answer
	for range 3 {
		calls = append(calls, k.call(k.ctx, root, "stuck", ""))
	}
	k.eventually("two requests wait", func() bool { return worker.Stats().Waiting == 2 })
	k.fails(root, "stuck", commands.ErrInternal)
	require.EqualValues(k.t, 1, worker.Stats().Refused)
	s.let()
	for _, c := range calls {
		require.NoError(k.t, recv(k, c, "the answer").err)
	}
	k.settled(root, worker)
}

func codesOverHops(k *kit) {
	rs := k.chain(4)
	for _, c := range []struct {
		code commands.Code
		kind error
	}{
		{commands.NotFound, commands.ErrNotFound},
		{commands.InvalidRequest, commands.ErrInvalidRequest},
		{commands.Internal, commands.ErrInternal},
		{commands.Timeout, commands.ErrTimeout},
		{commands.ChannelDisconnected, commands.ErrChannelDisconnected},
	} {
		text := "the text of " + string(c.code) + ": with: colons, ümläuts and \"quotes\"\n"
		id := "fails." + string(c.code)
		k.raw(rs[0], id, func(context.Context, json.RawMessage) (json.RawMessage, error) {
			return nil, commands.Errorf(c.code, "%s", text)
		})
		err := k.fails(rs[3], id, c.kind)
		require.Equal(k.t, text, err.Error())
		var e *commands.Error
		require.ErrorAs(k.t, err, &e)
		require.Equal(k.t, id, e.Command)
	}
}

func plainError(k *kit) {
	rs := k.chain(4)
	k.raw(rs[3], "fails", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		return nil, fmt.Errorf("open the door: %w", errors.New("no key"))
	})
	err := k.fails(rs[0], "fails", commands.ErrInternal)
	require.Equal(k.t, "open the door: no key", err.Error())
	k.raw(rs[3], "late", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		return nil, fmt.Errorf("ask the bank: %w", context.DeadlineExceeded)
	})
	k.fails(rs[0], "late", commands.ErrTimeout)
}

func panicCostsOne(k *kit) {
	rs := k.chain(3)
	k.raw(rs[2], "panics", func(context.Context, json.RawMessage) (json.RawMessage, error) { panic("the secret") })
	s := k.stuck(rs[2], "stuck")
	c := k.call(k.ctx, rs[0], "stuck", "")
	recv(k, s.started, "the handler's start")
	for range 10 {
		err := k.fails(rs[0], "panics", commands.ErrInternal)
		require.NotContains(k.t, err.Error(), "the secret")
	}
	s.let()
	require.NoError(k.t, recv(k, c, "the answer").err)
	require.EqualValues(k.t, 10, rs[2].Stats().Panics)
	k.settled(rs...)
}

func goexitCostsOne(k *kit) {
	root, worker := k.couple(inFlight(1))
	k.raw(worker, "leaves", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		runtime.Goexit()
		return nil, nil
	})
	for range 3 {
		k.fails(root, "leaves", commands.ErrInternal)
	}
	k.settled(root, worker)
}

func unknownCode(k *kit) {
	r := k.registry("r")
	w, _ := k.wire(r, "peer", everything, `[{"id":"x"}]`)
	c := k.call(k.ctx, r, "x", "")
	w.refuse(w.expect(bus.ExecuteRequest), "teapot", "short and stout")
	err := recv(k, c, "the answer").err
	require.ErrorIs(k.t, err, commands.ErrInternal)
	require.Equal(k.t, "short and stout", err.Error())
}

func notFoundByHandler(k *kit) {
	rs := k.chain(3)
	k.raw(rs[2], "user.get", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		return nil, commands.Errorf(commands.NotFound, "no such user")
	})
	for range 3 {
		require.Equal(k.t, "no such user", k.fails(rs[0], "user.get", commands.ErrNotFound).Error())
	}
	require.True(k.t, has(rs[0], "user.get"), "the command was taken for a stale one")
	require.True(k.t, has(rs[1], "user.get"), "the command was taken for a stale one")
}
