package pairingtest

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func fleetCalls() []fleetStatement {
	return []fleetStatement{
		{"each_of_one_to_eight_calls_each", eachCallsEach, nil},
		{"nobodys_command_is_not_found_at_once", nobodys, nil},
		{"commands_appear_and_disappear_everywhere", comeAndGo, nil},
		{"errors_cross_as_codes", fleetErrors, nil},
		{"the_callers_cancellation_reaches_the_handler", fleetCancel, nil},
		{"the_callers_deadline_reaches_the_handler", fleetDeadline, nil},
		{"time_out", fleetTimeout, nil},
		{"nested_between_two_at_cap_1", fleetNested, nil},
		{"many_at_once", manyAtOnce, nil},
		{"private_commands_stay", fleetPrivate, nil},
		{"metadata_travels_as_it_is", fleetMetadata, nil},
		{"a_large_list_of_commands", largeList, nil},
	}
}

func eachCallsEach(k *fleetKit) {
	for count := 1; count <= 8; count++ {
		sub := *k
		sub.namespace = k.namespace + "-" + strconv.Itoa(count)
		all := sub.nodes(count)
		for _, n := range all {
			k.says(n.Registry, "who."+n.ID(), strconv.Quote(n.ID()))
		}
		for _, n := range all {
			for _, other := range all {
				if other != n {
					require.NoError(k.t, n.fleet.Await(k.ctx, "who."+other.ID()))
				}
				require.Equal(k.t, strconv.Quote(other.ID()), k.ok(n.Registry, "who."+other.ID(), ""))
			}
		}
		k.rest(all...)
		for _, n := range all {
			require.NoError(k.t, n.Close())
		}
	}
}

func nobodys(k *fleetKit) {
	all := k.nodes(2)
	router := k.node("router", nodeOptions{registry: under("fleet")})
	for _, n := range append(all, router) {
		err := k.fails(n.Registry, "nobody.has.this", commands.ErrNotFound)
		require.Equal(k.t, "command not found: nobody.has.this", err.Error())
	}
}

func comeAndGo(k *fleetKit) {
	all := k.nodes(3)
	for range 5 {
		k.says(all[0].Registry, "x", `"0"`)
		k.can(all[1:], "x")
		require.Equal(k.t, `"0"`, k.ok(all[1].Registry, "x", ""))
		k.says(all[1].Registry, "x", `"1"`) // known already: the fleet has it, and one more may
		k.serves(all[2], "x", 2)
		require.Equal(k.t, `"1"`, k.ok(all[1].Registry, "x", ""), "its own goes first")
		require.True(k.t, all[1].Unregister("x"))
		k.eventually("the other one's is callable again", func() bool {
			got, err := all[1].ExecuteRaw(k.ctx, "x", nil)
			return err == nil && string(got) == `"0"`
		})
		require.True(k.t, all[0].Unregister("x"))
		for _, n := range all {
			k.forgets(n.Registry, "x")
			k.fails(n.Registry, "x", commands.ErrNotFound)
		}
	}
	k.rest(all...)
}

func fleetErrors(k *fleetKit) {
	all := k.nodes(2)
	for _, code := range []commands.Code{commands.NotFound, commands.InvalidRequest, commands.Internal, commands.Timeout, commands.ChannelDisconnected} {
		id := "fails." + string(code)
		k.raw(all[1].Registry, id, func(context.Context, json.RawMessage) (json.RawMessage, error) {
			return nil, commands.Errorf(code, "no %s today", code)
		})
		k.can(all[:1], id)
		for range 2 {
			_, err := all[0].ExecuteRaw(k.ctx, id, nil)
			require.Equal(k.t, code, commands.CodeOf(err))
			require.Equal(k.t, fmt.Sprintf("no %s today", code), err.Error())
		}
	}
	k.raw(all[1].Registry, "panics", func(context.Context, json.RawMessage) (json.RawMessage, error) { panic("the secret") })
	k.can(all[:1], "panics")
	require.NotContains(k.t, k.fails(all[0].Registry, "panics", commands.ErrInternal).Error(), "the secret")
}

func fleetCancel(k *fleetKit) {
	all := k.nodes(2)
	s := k.stuck(all[1].Registry, "stuck")
	k.can(all[:1], "stuck")
	ctx, cancel := context.WithCancel(k.ctx)
	c := k.call(ctx, all[0].Registry, "stuck", "")
	recv(k.kit, s.started, "the handler's start")
	cancel()
	require.ErrorIs(k.t, recv(k.kit, c, "the answer").err, context.Canceled)
	require.ErrorIs(k.t, recv(k.kit, s.ended, "the handler's end"), context.Canceled)
	k.rest(all...)
}

func fleetDeadline(k *fleetKit) {
	all := k.nodes(2)
	left := make(chan time.Duration, 1)
	k.raw(all[1].Registry, "left", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		at, ok := ctx.Deadline()
		if ok {
			left <- time.Until(at)
		}
		return nil, nil
	})
	k.can(all[:1], "left")
	ctx, cancel := context.WithTimeout(k.ctx, k.slow(10*time.Second))
	defer cancel()
	_, err := all[0].ExecuteRaw(ctx, "left", nil)
	require.NoError(k.t, err)
	got := recv(k.kit, left, "the deadline")
	require.Greater(k.t, got, time.Duration(0))
	require.LessOrEqual(k.t, got, k.slow(10*time.Second)+time.Millisecond)
}

func fleetTimeout(k *fleetKit) {
	all := k.nodes(2)
	s := k.stuck(all[1].Registry, "stuck")
	k.raw(all[1].Registry, "next", func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil })
	k.can(all[:1], "stuck", "next")
	k.longer("a request is delivered before its TTL ends", func(ttl time.Duration) bool {
		stuck := commands.Define[commands.Void, commands.Void]("stuck", "", commands.Options{TTL: ttl})
		_, err := commands.Execute(k.ctx, all[0].Registry, stuck, commands.Void{})
		require.ErrorIs(k.t, err, commands.ErrTimeout)
		k.ok(all[0].Registry, "next", "") // behind the request
		k.rest(all...)
		if len(s.started) == 0 { // it came too late to be run
			return false
		}
		require.Error(k.t, recv(k.kit, s.ended, "the handler's end"))
		return true
	})
}

func fleetNested(k *fleetKit) {
	all := k.nodes(2, nodeOptions{registry: inFlight(1)})
	descend(k.kit, [2]*commands.Registry{all[0].Registry, all[1].Registry})
	k.can(all[:1], "down.1")
	k.can(all[1:], "down.0")
	for i, n := range all {
		require.Equal(k.t, `"bottom"`, k.ok(n.Registry, fmt.Sprintf("down.%d", 1-i), "16"))
	}
	_, err := all[0].ExecuteRaw(k.ctx, "down.1", encoded("40"))
	require.ErrorIs(k.t, err, commands.ErrInternal)
	k.rest(all...)
}

func manyAtOnce(k *fleetKit) {
	small := nodeOptions{fleet: func(o *fleetOptions) { o.QueueSize = 16 }}
	all := k.nodes(3, small)
	for _, n := range all[1:] {
		k.echo(n.Registry, "echo")
	}
	k.serves(all[0], "echo", 2)
	k.can(all[:1], "echo")
	var wg sync.WaitGroup
	for i := range k.volume(2000) {
		wg.Go(func() {
			got, err := all[0].ExecuteRaw(k.ctx, "echo", encoded(strconv.Itoa(i)))
			if err != nil || string(got) != strconv.Itoa(i) {
				k.t.Errorf("call %d: %s, %v", i, got, err)
			}
		})
	}
	wg.Wait()
	k.rest(all...)
}

func fleetPrivate(k *fleetKit) {
	all := k.nodes(2)
	k.says(all[1].Registry, "_private", "1")
	k.says(all[1].Registry, "public", "1")
	k.can(all[:1], "public")
	k.fails(all[0].Registry, "_private", commands.ErrNotFound)
	for _, m := range all[0].fleet.Members() {
		require.Equal(k.t, []string{"public"}, m.Commands)
	}
}

func fleetMetadata(k *fleetKit) {
	all := k.nodes(2)
	got := make(chan map[string]string, 1)
	k.raw(all[1].Registry, "meta", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		got <- bus.MetadataFrom(ctx)
		return nil, nil
	})
	k.can(all[:1], "meta")
	for _, md := range []map[string]string{
		{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		{"plain": "100%25", "odd": " spaces \nand lines ü "},
	} {
		_, err := all[0].ExecuteRaw(bus.WithMetadata(k.ctx, md), "meta", nil)
		require.NoError(k.t, err)
		require.Equal(k.t, md, recv(k.kit, got, "the metadata"))
	}
}

// largeList has more commands than go into one message.
func largeList(k *fleetKit) {
	first := k.node("first")
	text := make([]byte, 20_000)
	for i := range text {
		text[i] = 'a' + byte(i%26)
	}
	const count = 40
	for i := range count {
		def := bus.Definition{ID: fmt.Sprintf("large.%d", i), Description: string(text)}
		require.NoError(k.t, first.RegisterRaw(k.ctx, def, func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil }))
	}
	second := k.node("second")
	for i := range count {
		require.NoError(k.t, second.fleet.Await(k.ctx, fmt.Sprintf("large.%d", i)))
		info, ok := find(second.Registry, fmt.Sprintf("large.%d", i))
		require.True(k.t, ok)
		require.Equal(k.t, string(text), info.Description)
	}
}
