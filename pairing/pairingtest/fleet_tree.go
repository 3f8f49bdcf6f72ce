package pairingtest

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/fleet"
)

func fleetTree() []fleetStatement {
	return []fleetStatement{
		{"as_router_it_acks_registrations", fleetAcks, nil},
		{"as_router_it_serves_the_registrys_children", fleetServesChildren, nil},
		{"as_router_it_serves_what_was_registered_before", fleetServesEarlier, nil},
		{"children_register_what_the_fleet_has_too", childRegistersToo, nil},
		{"a_command_is_the_first_registrys_again_when_the_child_goes", childGoes, nil},
		{"calls_from_leaf_to_leaf", leafToLeaf, nil},
	}
}

// branch is a process with a child registry that escalates to it.
func (k *fleetKit) branch(id string) (n *node, child *commands.Registry) {
	k.t.Helper()
	n = k.node(id, nodeOptions{registry: under("fleet")})
	child = k.registry(id+".child", under(id))
	k.adopt(n.Registry, child)
	return n, child
}

// adopt joins a child to its parent in memory.
func (k *fleetKit) adopt(parent, child *commands.Registry) (toChild *bus.Link) {
	k.t.Helper()
	down, up := pairing.InMemory(child.ID(), parent.ID())
	toChild = k.attach(parent, down)
	k.ready(toChild, k.attach(child, up))
	return toChild
}

func fleetAcks(k *fleetKit) {
	a, b := k.node("a", nodeOptions{registry: under("fleet")}), k.node("b", nodeOptions{registry: under("fleet")})
	k.says(a.Registry, "x", `"a"`) // waits for the ack
	require.NoError(k.t, b.fleet.Await(k.ctx, "x"))
	k.says(b.Registry, "x", `"b"`)
	require.NoError(k.t, a.fleet.Await(k.ctx))
	require.Equal(k.t, `"a"`, k.ok(a.Registry, "x", ""))
	require.Equal(k.t, `"b"`, k.ok(b.Registry, "x", ""))
	require.ErrorIs(k.t, registers(k.kit, a.Registry, "x"), commands.ErrDuplicateCommand)
}

func fleetServesChildren(k *fleetKit) {
	a, child := k.branch("a")
	b := k.node("b")
	k.says(child, "x", `"child"`)
	require.NoError(k.t, b.fleet.Await(k.ctx, "x"))
	require.Equal(k.t, `"child"`, k.ok(b.Registry, "x", ""))
	require.True(k.t, child.Unregister("x"))
	k.forgets(b.Registry, "x")
	k.says(child, "x", `"again"`)
	require.NoError(k.t, b.fleet.Await(k.ctx, "x"))
	require.Equal(k.t, `"again"`, k.ok(b.Registry, "x", ""))
	require.NoError(k.t, child.Close())
	k.forgets(b.Registry, "x")
	k.rest(a, b)
}

func fleetServesEarlier(k *fleetKit) {
	b := k.node("b")
	r := k.registry("late", under("fleet"))
	child := k.registry("child", under("late"))
	k.adopt(r, child)
	k.says(r, "parents", "1")
	// With the router down the child's command waits for nobody either.
	require.ErrorIs(k.t, k.fails(r, "unknown", commands.ErrChannelDisconnected), commands.ErrChannelDisconnected)
	k.says(child, "childs", "2")
	pub, sub, o := k.broker(k.t)
	o.Namespace, o.ID, o.Logger = k.namespace, "late", silentLogger
	f, err := fleet.New(k.ctx, pub, sub, o)
	require.NoError(k.t, err)
	k.t.Cleanup(func() { _ = f.Close() })
	k.attach(r, f.Channel())
	require.NoError(k.t, b.fleet.Await(k.ctx, "parents", "childs"))
	require.Equal(k.t, "1", k.ok(b.Registry, "parents", ""))
	require.Equal(k.t, "2", k.ok(b.Registry, "childs", ""))
}

func childRegistersToo(k *fleetKit) {
	a, child := k.branch("a")
	b := k.node("b")
	k.says(b.Registry, "x", `"b"`)
	require.NoError(k.t, a.fleet.Await(k.ctx, "x"))
	require.Equal(k.t, `"b"`, k.ok(child, "x", ""))
	k.says(child, "x", `"child"`)
	k.knows(a.Registry, "x")
	require.Equal(k.t, `"child"`, k.ok(a.Registry, "x", ""))
	require.NoError(k.t, child.Close())
	k.eventually("the fleet's is callable again", func() bool {
		got, err := a.ExecuteRaw(k.ctx, "x", nil)
		return err == nil && string(got) == `"b"`
	})
}

// childGoes is the same where the fleet is not the router, and hears nothing of the child's commands.
func childGoes(k *fleetKit) {
	a, b := k.node("a"), k.node("b")
	child := k.registry("child", under("a"))
	k.adopt(a.Registry, child)
	k.says(b.Registry, "x", `"b"`)
	require.NoError(k.t, a.fleet.Await(k.ctx, "x"))
	k.says(child, "x", `"child"`)
	require.Equal(k.t, `"child"`, k.ok(a.Registry, "x", ""))
	require.True(k.t, child.Unregister("x"))
	k.eventually("the fleet's is callable again", func() bool {
		got, err := a.ExecuteRaw(k.ctx, "x", nil)
		return err == nil && string(got) == `"b"`
	})
	k.says(child, "x", `"child"`)
	require.NoError(k.t, child.Close())
	k.eventually("the fleet's is callable again", func() bool {
		got, err := a.ExecuteRaw(k.ctx, "x", nil)
		return err == nil && string(got) == `"b"`
	})
}

func leafToLeaf(k *fleetKit) {
	a, left := k.branch("a")
	b, right := k.branch("b")
	k.raw(right, "double", func(_ context.Context, req json.RawMessage) (json.RawMessage, error) {
		n, err := strconv.Atoi(string(req))
		return encoded(strconv.Itoa(2 * n)), err
	})
	k.raw(left, "four.times", func(ctx context.Context, req json.RawMessage) (json.RawMessage, error) {
		twice, err := left.ExecuteRaw(ctx, "double", req)
		if err != nil {
			return nil, err
		}
		return left.ExecuteRaw(ctx, "double", twice)
	})
	require.NoError(k.t, a.fleet.Await(k.ctx, "double"))
	require.NoError(k.t, b.fleet.Await(k.ctx, "four.times"))
	for i := range 50 {
		require.Equal(k.t, strconv.Itoa(4*i), k.ok(right, "four.times", strconv.Itoa(i)))
	}
	k.fails(left, "nobody", commands.ErrNotFound)
	k.settled(left, right)
	k.rest(a, b)
}
