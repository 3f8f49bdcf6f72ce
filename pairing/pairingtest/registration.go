package pairingtest

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func registrationRules() []group {
	return []group{
		{"rule09_a_duplicate_is_refused", []statement{
			{"of_a_local_command", duplicateLocal, nil},
			{"of_the_router_s_command", duplicateOfRouter, nil},
			{"of_another_branch", duplicateOfBranch, nil},
			{"ten_goroutines_one_id", tenGoroutines, nil},
			{"two_registries_at_once", twoRegistries, nil},
			{"router_and_worker_at_once", routerAndWorker, nil},
			{"the_same_channel_again_refreshes_all_the_way_up", refreshUp, nil},
			{"a_refresh_before_the_ack_goes_up_too", refreshWhilePending, nil},
		}},
		{"rule10_visible_after_the_ack", []statement{
			{"not_before", notBeforeAck, nil},
			{"callable_behind_the_ack", callBehindAck, ordered},
			{"a_request_from_the_router_counts_as_the_ack", requestAsAck, nil},
			{"called_by_the_parent_as_soon_as_it_knows", calledAtOnce, nil},
			{"a_relay_asks_before_it_acks", relayAsksFirst, nil},
			{"refused_timed_out_disconnected", refusalsTold, nil},
			{"a_caller_who_leaves_takes_it_back", registrationLeft, nil},
			{"router_down_then_up", routerDownThenUp, nil},
			{"router_up_and_refuses_leaves_it_local", escalationRefused, nil},
			{"what_children_registered_is_escalated_later", escalatedLater, nil},
		}},
		{"rule11_a_link_that_closes_withdraws", append(withdrawals(), statement{"unregister_withdraws", unregisterWithdraws, nil})},
		{"rule12_a_list_replaces_nothing", []statement{
			{"no_local_handler", listKeepsLocal, nil},
			{"no_command_of_another_channel", listKeepsOther, nil},
		}},
		{"rule13_private_stays_private", []statement{
			{"never_advertised_escalated_or_broadcast", privateStays, nil},
			{"called_over_a_local_channel", privateCalledLocally, local},
			{"not_called_over_any_other_channel", privateNotCalled, nil},
			{"registration_from_a_peer_is_refused", privateNotTaken, nil},
		}},
	}
}

// registers registers a command that returns a constant and returns the error.
func registers(k *kit, r *commands.Registry, id string) error {
	return r.RegisterRaw(k.ctx, bus.Definition{ID: id}, func(context.Context, json.RawMessage) (json.RawMessage, error) {
		return encoded(`"` + r.ID() + `"`), nil
	})
}

// registering registers a command in the background.
func registering(k *kit, ctx context.Context, r *commands.Registry, id string) <-chan error {
	c := make(chan error, 1)
	go func() {
		c <- r.RegisterRaw(ctx, bus.Definition{ID: id}, func(context.Context, json.RawMessage) (json.RawMessage, error) {
			return encoded(`"` + r.ID() + `"`), nil
		})
	}()
	return c
}

func notBeforeAck(k *kit) {
	worker := k.registry("worker", under("root"))
	root, _ := k.wire(worker, "root", everything, `[]`)
	c := registering(k, k.ctx, worker, "x")
	request := root.expect(bus.RegisterRequest)
	root.flush()
	require.False(k.t, has(worker, "x"), "visible before the ack")
	require.Empty(k.t, c)
	require.ErrorIs(k.t, registers(k, worker, "x"), commands.ErrDuplicateCommand, "the ID is reserved")
	root.ack(request)
	require.NoError(k.t, recv(k, c, "the registration"))
	require.True(k.t, has(worker, "x"))
	require.Equal(k.t, `"worker"`, k.ok(worker, "x", ""))
}

func callBehindAck(k *kit) {
	worker := k.registry("worker", under("root"))
	root, _ := k.wire(worker, "root", everything, `[]`)
	for i := range k.volume(200) {
		id := fmt.Sprintf("x%d", i)
		c := registering(k, k.ctx, worker, id)
		root.ack(root.expect(bus.RegisterRequest))
		request := root.request("", id, "")
		reply := root.expect(bus.ExecuteResponse)
		require.Equal(k.t, request.ID, reply.Thread)
		require.Nil(k.t, reply.Fault)
		require.Equal(k.t, `"worker"`, string(reply.Body))
		require.NoError(k.t, recv(k, c, "the registration"))
	}
}

func requestAsAck(k *kit) {
	worker := k.registry("worker", under("root"))
	root, _ := k.wire(worker, "root", everything, `[]`)
	c := registering(k, k.ctx, worker, "x")
	asked := root.expect(bus.RegisterRequest)
	root.request("", "x", "")
	require.Nil(k.t, root.expect(bus.ExecuteResponse).Fault)
	require.NoError(k.t, recv(k, c, "the registration"))
	root.ack(asked)
	root.flush()
	require.True(k.t, has(worker, "x"))
	k.settled(worker)
}

func calledAtOnce(k *kit) {
	rs := k.chain(3)
	for i := range k.volume(100) {
		id := fmt.Sprintf("x%d", i)
		c := registering(k, k.ctx, rs[2], id)
		k.knows(rs[0], id)
		require.Equal(k.t, `"r2"`, k.ok(rs[0], id, ""))
		require.NoError(k.t, recv(k, c, "the registration"))
	}
}

func relayAsksFirst(k *kit) {
	mid := k.registry("mid", under("root"))
	root, _ := k.wire(mid, "root", everything, `[]`)
	leaf := k.registry("leaf", under("mid"))
	k.connect(mid, leaf)
	accepted, refused := registering(k, k.ctx, leaf, "x"), (<-chan error)(nil)
	request := root.expect(bus.RegisterRequest)
	k.flush(leaf)
	require.False(k.t, has(mid, "x"))
	require.Empty(k.t, accepted)
	root.ack(request)
	require.NoError(k.t, recv(k, accepted, "the registration"))
	require.True(k.t, has(mid, "x"))

	refused = registering(k, k.ctx, leaf, "y")
	root.send(bus.Envelope{Type: bus.RegisterResponse, Thread: root.expect(bus.RegisterRequest).ID,
		Fault: &bus.Fault{Code: string(commands.DuplicateCommand)}})
	require.ErrorIs(k.t, recv(k, refused, "the registration"), commands.ErrDuplicateCommand)
	require.False(k.t, has(mid, "y"))
	require.False(k.t, has(leaf, "y"))
	k.settled(mid, leaf)
}

func refusalsTold(k *kit) {
	rs := []*commands.Registry{nil, k.registry("mid", under("root"), requestTTL(20*k.brief())), k.registry("leaf", under("mid"))}
	mid, leaf := rs[1], rs[2]
	root, link := k.wire(mid, "root", everything, `[]`)
	k.connect(mid, leaf)
	for _, r := range []*commands.Registry{mid, leaf} {
		id := "of." + r.ID()
		c := registering(k, k.ctx, r, id)
		root.send(bus.Envelope{Type: bus.RegisterResponse, Thread: root.expect(bus.RegisterRequest).ID,
			Fault: &bus.Fault{Code: string(commands.DuplicateCommand)}})
		require.ErrorIs(k.t, recv(k, c, "the refusal"), commands.ErrDuplicateCommand)
		c = registering(k, k.ctx, r, id)
		root.expect(bus.RegisterRequest)
		require.ErrorIs(k.t, recv(k, c, "the timeout"), commands.ErrTimeout)
		require.False(k.t, has(r, id))
	}
	c := registering(k, k.ctx, leaf, "last")
	root.expect(bus.RegisterRequest)
	require.NoError(k.t, link.Close())
	require.ErrorIs(k.t, recv(k, c, "the disconnection"), commands.ErrChannelDisconnected)
	require.False(k.t, has(leaf, "last"))
	k.settled(mid, leaf)
}

func registrationLeft(k *kit) {
	worker := k.registry("worker", under("root"))
	root, _ := k.wire(worker, "root", everything, `[]`)
	ctx, cancel := context.WithCancel(k.ctx)
	c := registering(k, ctx, worker, "x")
	request := root.expect(bus.RegisterRequest)
	cancel()
	require.Equal(k.t, context.Canceled, recv(k, c, "the registration"))
	require.Equal(k.t, "x", root.expect(bus.Withdraw).Name)
	root.ack(request)
	root.flush()
	require.False(k.t, has(worker, "x"))
	k.settled(worker)
}

func routerDownThenUp(k *kit) {
	root, worker := k.registry("root"), k.registry("worker", under("root"))
	for i := range k.volume(300) {
		require.NoError(k.t, registers(k, worker, fmt.Sprintf("x%d", i)))
	}
	require.NoError(k.t, registers(k, worker, "_private"))
	require.Equal(k.t, `"worker"`, k.ok(worker, "x0", ""))
	k.connect(root, worker)
	for i := range k.volume(300) {
		k.knows(root, fmt.Sprintf("x%d", i))
	}
	require.Equal(k.t, `"worker"`, k.ok(root, "x0", ""))
	require.False(k.t, has(root, "_private"))
	k.settled(root, worker)
}

func escalationRefused(k *kit) {
	var log logbook
	root := k.registry("root")
	worker := k.registry("worker", under("root"), func(c *commands.Config) { c.Logger = log.logger() })
	require.NoError(k.t, registers(k, root, "x"))
	require.NoError(k.t, registers(k, worker, "x"))
	k.connect(root, worker)
	k.eventually("the refusal is logged", func() bool { return log.says("command=x", string(commands.DuplicateCommand)) })
	require.Equal(k.t, `"root"`, k.ok(root, "x", ""))
	require.Equal(k.t, `"worker"`, k.ok(worker, "x", ""))
	k.settled(root, worker)
}

func escalatedLater(k *kit) {
	root, mid, leaf := k.registry("root"), k.registry("mid", under("root")), k.registry("leaf", under("mid"))
	k.connect(mid, leaf)
	require.NoError(k.t, registers(k, leaf, "x"))
	require.True(k.t, has(mid, "x"))
	k.connect(root, mid)
	k.knows(root, "x")
	require.Equal(k.t, `"leaf"`, k.ok(root, "x", ""))
	k.settled(root, mid, leaf)
}
