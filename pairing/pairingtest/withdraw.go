package pairingtest

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func withdrawals() []statement {
	return []statement{
		{"here_and_up_the_tree", closeWithdraws, nil},
		{"a_leaf_comes_back_under_another_branch", leafMoves, nil},
		{"a_registration_under_way_is_given_up", closeWhilePending, nil},
		{"a_stale_entry_ends_in_not_found_and_goes", staleEntry, nil},
		{"a_stale_entry_behind_a_relay_goes_too", staleBehindRelay, nil},
	}
}

func closeWithdraws(k *kit) {
	rs := k.chain(4)
	require.NoError(k.t, registers(k, rs[3], "x"))
	require.NoError(k.t, registers(k, rs[2], "stays"))
	require.NoError(k.t, rs[3].Close())
	for _, r := range rs[:3] {
		k.forgets(r, "x")
		require.True(k.t, has(r, "stays"))
	}
	k.fails(rs[1], "x", commands.ErrNotFound)
	k.settled(rs[:3]...)
}

// leafMoves takes a leaf from one branch to the other and back, each time as
// soon as the old branch has told the root.
func leafMoves(k *kit) {
	root, mids := k.registry("root"), []*commands.Registry{k.registry("left", under("root")), k.registry("right", under("root"))}
	for _, mid := range mids {
		k.connect(root, mid)
	}
	for i := range 10 {
		mid := mids[i%2]
		leaf := k.registry("leaf", under(mid.ID()))
		toLeaf, _ := k.connect(mid, leaf)
		require.NoErrorf(k.t, registers(k, leaf, "x"), "move %d", i)
		info, _ := find(root, "x")
		require.Equal(k.t, mid.ID(), info.Channel)
		require.Equal(k.t, `"leaf"`, k.ok(mids[1-i%2], "x", ""))
		require.NoError(k.t, leaf.Close())
		k.awaits(toLeaf.Done(), "the end of the link to the leaf")
		k.flush(mid)
		require.False(k.t, has(root, "x"))
	}
	k.settled(root, mids[0], mids[1])
}

func closeWhilePending(k *kit) {
	mid := k.registry("mid", under("root"))
	root, _ := k.wire(mid, "root", everything, `[]`)
	leaf, link := k.wire(mid, "leaf", everything, `[]`)
	leaf.register(`{"id":"x"}`)
	request := root.expect(bus.RegisterRequest)
	leaf.send(bus.Envelope{Type: bus.Goodbye})
	k.awaits(link.Done(), "the link's end")
	root.ack(request)
	require.Equal(k.t, "x", root.expect(bus.Withdraw).Name)
	require.False(k.t, has(mid, "x"))
	k.settled(mid)
	other, _ := k.wire(mid, "other", everything, `[]`)
	other.register(`{"id":"x"}`)
	root.ack(root.expect(bus.RegisterRequest))
	require.Nil(k.t, other.expect(bus.RegisterResponse).Fault)
}

// staleEntry has a peer that does not know Withdraw. Its not_found may be a
// handler's: its list tells.
func staleEntry(k *kit) {
	r := k.registry("r")
	w, _ := k.wire(r, "old", 0, `[{"id":"y"}]`)
	w.send(bus.Envelope{Type: bus.ListResponse, Thread: "nobody asked", Body: json.RawMessage(`[{"id":"x"}]`)})
	for _, id := range []string{"y", "x"} {
		k.knows(r, id)
		c := k.call(k.ctx, r, id, "")
		w.refuse(w.expect(bus.ExecuteRequest), commands.NotFound, "who?")
		require.ErrorIs(k.t, recv(k, c, "the answer").err, commands.ErrNotFound)
	}
	k.forgets(r, "x")
	require.True(k.t, has(r, "y"))
	require.EqualValues(k.t, 1, r.Stats().Evicted)
	k.fails(r, "x", commands.ErrNotFound)
	require.Zero(k.t, w.received(bus.ExecuteRequest))
}

func staleBehindRelay(k *kit) {
	rs := k.chain(3)
	w, _ := k.wire(rs[2], "old", 0, `[]`)
	w.register(`{"id":"x"}`)
	require.Nil(k.t, w.expect(bus.RegisterResponse).Fault)
	c := k.call(k.ctx, rs[0], "x", "")
	w.refuse(w.expect(bus.ExecuteRequest), commands.NotFound, "who?")
	require.ErrorIs(k.t, recv(k, c, "the answer").err, commands.ErrNotFound)
	for _, r := range rs {
		k.forgets(r, "x")
	}
	k.settled(rs...)
}

func unregisterWithdraws(k *kit) {
	rs := k.chain(3)
	for range 5 {
		require.NoError(k.t, registers(k, rs[2], "x"))
		require.Equal(k.t, `"r2"`, k.ok(rs[0], "x", ""))
		require.True(k.t, rs[2].Unregister("x"))
		require.False(k.t, rs[2].Unregister("x"))
		require.False(k.t, rs[1].Unregister("x"), "only a local command can be unregistered")
		k.flush(rs[2])
		k.flush(rs[1])
		require.False(k.t, has(rs[1], "x"))
		require.False(k.t, has(rs[0], "x"))
		k.fails(rs[0], "x", commands.ErrNotFound)
		require.NoError(k.t, registers(k, rs[0], "x"), "the ID is free")
		require.True(k.t, rs[0].Unregister("x"))
		k.flush(rs[0])
	}
	k.settled(rs...)
}

func listKeepsLocal(k *kit) {
	r := k.registry("r")
	require.NoError(k.t, registers(k, r, "x"))
	w, _ := k.wire(r, "peer", everything, `[{"id":"x","description":"theirs"},{"id":"y"}]`)
	require.Equal(k.t, `"r"`, k.ok(r, "x", ""))
	require.True(k.t, has(r, "y"))
	info, _ := find(r, "x")
	require.Empty(k.t, info.Channel)
	require.Empty(k.t, info.Description)
	require.Zero(k.t, w.received(bus.ExecuteRequest))
	require.EqualValues(k.t, 1, r.Stats().Conflicts)
}

func listKeepsOther(k *kit) {
	r := k.registry("r")
	first, _ := k.wire(r, "first", everything, `[{"id":"x"}]`)
	second, link := k.wire(r, "second", everything, `[{"id":"x"}]`)
	info, _ := find(r, "x")
	require.Equal(k.t, "first", info.Channel)
	second.send(bus.Envelope{Type: bus.Withdraw, Name: "x"})
	second.flush()
	require.True(k.t, has(r, "x"), "withdrawn by one who does not have it")
	require.NoError(k.t, link.Close())
	require.True(k.t, has(r, "x"))
	c := k.call(k.ctx, r, "x", "")
	first.reply(first.expect(bus.ExecuteRequest), "1")
	require.NoError(k.t, recv(k, c, "the answer").err)
}

func privateStays(k *kit) {
	root, worker := k.registry("root"), k.registry("worker", under("root"))
	require.NoError(k.t, registers(k, worker, "_early"))
	require.NoError(k.t, registers(k, root, "_root"))
	k.connect(root, worker)
	require.NoError(k.t, registers(k, worker, "_late"))
	w, _ := k.wire(worker, "peer", everything, `[{"id":"_listed"}]`)
	here := make(chan string, 8)
	_, err := worker.Events().ListenRaw("_secret", func(_ context.Context, id string, _ json.RawMessage) { here <- id })
	require.NoError(k.t, err)
	_, err = root.Events().ListenRaw(">", func(_ context.Context, id string, _ json.RawMessage) { k.t.Errorf("root heard %s", id) })
	require.NoError(k.t, err)
	require.NoError(k.t, worker.Events().EmitRaw(k.ctx, "_secret", nil))
	recv(k, here, "the private event")
	w.send(bus.Envelope{Type: bus.Event, Name: "_secret"})
	recv(k, here, "a peer's private event")
	k.flush(worker)
	k.flush(root)
	require.Zero(k.t, w.received(bus.Event))
	require.False(k.t, has(worker, "_listed"))
	for _, id := range []string{"_early", "_late"} {
		require.False(k.t, has(root, id))
		k.fails(root, id, commands.ErrNotFound)
		require.Equal(k.t, `"worker"`, k.ok(worker, id, ""))
	}
	k.fails(worker, "_root", commands.ErrNotFound)
}

// callsPrivate calls a private command by hand, and one that does not exist.
func callsPrivate(k *kit, trusted bool) (known, unknown bus.Envelope) {
	k.t.Helper()
	r := k.registry("r")
	require.NoError(k.t, registers(k, r, "_private"))
	toPeer, toRegistry := k.pair("peer", "r")
	toPeer.Local = trusted && toPeer.Local
	link := k.attach(r, toPeer)
	w := k.play(toRegistry, everything, `[]`)
	k.ready(link)
	w.request("", "_private", "")
	known = w.expect(bus.ExecuteResponse)
	w.request("", "_unknown", "")
	return known, w.expect(bus.ExecuteResponse)
}

func privateCalledLocally(k *kit) {
	known, unknown := callsPrivate(k, true)
	require.Equal(k.t, `"r"`, string(known.Body))
	require.NotNil(k.t, unknown.Fault)
}

func privateNotCalled(k *kit) {
	known, unknown := callsPrivate(k, false)
	require.NotNil(k.t, known.Fault)
	require.NotNil(k.t, unknown.Fault)
	require.Equal(k.t, string(commands.NotFound), known.Fault.Code, "the answer tells that it exists")
	require.Equal(k.t, fmt.Sprintf("command not found: %s", "_private"), known.Fault.Message)
}

func privateNotTaken(k *kit) {
	r := k.registry("r")
	w, _ := k.wire(r, "peer", everything, `[]`)
	id := w.register(`{"id":"_private"}`)
	ack := w.expect(bus.RegisterResponse)
	require.Equal(k.t, id, ack.Thread)
	require.NotNil(k.t, ack.Fault)
	require.False(k.t, has(r, "_private"))
}
