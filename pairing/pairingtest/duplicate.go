package pairingtest

import (
	"fmt"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func duplicateLocal(k *kit) {
	_, worker := k.couple()
	for _, id := range []string{"x", "_private"} {
		require.NoError(k.t, registers(k, worker, id))
		require.ErrorIs(k.t, registers(k, worker, id), commands.ErrDuplicateCommand)
	}
}

func duplicateOfRouter(k *kit) {
	root, worker := k.couple()
	require.NoError(k.t, registers(k, root, "x"))
	require.ErrorIs(k.t, registers(k, worker, "x"), commands.ErrDuplicateCommand)
	require.NoError(k.t, registers(k, worker, "y"))
	require.ErrorIs(k.t, registers(k, root, "y"), commands.ErrDuplicateCommand)
	require.Equal(k.t, `"root"`, k.ok(worker, "x", ""))
	require.Equal(k.t, `"worker"`, k.ok(root, "y", ""))
}

// branches is a root with two routers below it, and a leaf below each.
func branches(k *kit, options ...func(*commands.Config)) (root, leftMid, rightMid, left, right *commands.Registry) {
	k.t.Helper()
	root = k.registry("root", options...)
	leftMid, rightMid = k.registry("leftMid", append(options, under("root"))...), k.registry("rightMid", append(options, under("root"))...)
	left, right = k.registry("left", append(options, under("leftMid"))...), k.registry("right", append(options, under("rightMid"))...)
	k.connect(root, leftMid)
	k.connect(root, rightMid)
	k.connect(leftMid, left)
	k.connect(rightMid, right)
	return root, leftMid, rightMid, left, right
}

func duplicateOfBranch(k *kit) {
	_, leftMid, rightMid, left, right := branches(k)
	require.NoError(k.t, registers(k, left, "x"))
	require.ErrorIs(k.t, registers(k, right, "x"), commands.ErrDuplicateCommand)
	require.ErrorIs(k.t, registers(k, rightMid, "x"), commands.ErrDuplicateCommand)
	require.ErrorIs(k.t, registers(k, leftMid, "x"), commands.ErrDuplicateCommand)
	require.Equal(k.t, `"left"`, k.ok(right, "x", ""))
	k.settled(leftMid, rightMid, left, right)
}

// race lets all register the ID at once, and returns the one that won.
func race(k *kit, id string, rs ...*commands.Registry) *commands.Registry {
	k.t.Helper()
	errs := make([]error, len(rs))
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i, r := range rs {
		wg.Go(func() {
			<-start
			errs[i] = registers(k, r, id)
		})
	}
	close(start)
	wg.Wait()
	var winner *commands.Registry
	for i, err := range errs {
		if err != nil {
			require.ErrorIs(k.t, err, commands.ErrDuplicateCommand)
			continue
		}
		require.Nilf(k.t, winner, "%s was registered twice", id)
		winner = rs[i]
	}
	require.NotNilf(k.t, winner, "%s was registered by nobody", id)
	return winner
}

func tenGoroutines(k *kit) {
	root, worker := k.couple()
	var rs []*commands.Registry
	for range 10 {
		rs = append(rs, worker)
	}
	for i := range k.volume(50) {
		id := fmt.Sprintf("x%d", i)
		race(k, id, rs...)
		require.Equal(k.t, `"worker"`, k.ok(root, id, ""))
	}
	k.settled(root, worker)
}

func twoRegistries(k *kit) {
	root, leftMid, rightMid, left, right := branches(k)
	for i := range k.volume(50) {
		id := fmt.Sprintf("x%d", i)
		winner := race(k, id, left, right)
		for _, r := range []*commands.Registry{root, leftMid, rightMid, left, right} {
			require.Equal(k.t, `"`+winner.ID()+`"`, k.ok(r, id, ""))
		}
	}
	k.settled(root, leftMid, rightMid, left, right)
}

func routerAndWorker(k *kit) {
	root, worker := k.couple()
	for i := range k.volume(100) {
		id := fmt.Sprintf("x%d", i)
		winner := race(k, id, root, worker)
		require.Equal(k.t, `"`+winner.ID()+`"`, k.ok(root, id, ""))
		require.Equal(k.t, `"`+winner.ID()+`"`, k.ok(worker, id, ""))
	}
}

func refreshUp(k *kit) {
	rs := k.chain(3)
	w, _ := k.wire(rs[2], "peer", everything, `[]`)
	for _, text := range []string{"first", "second", "third"} {
		id := w.register(`{"id":"x","description":"` + text + `"}`)
		ack := w.expect(bus.RegisterResponse)
		require.Equal(k.t, id, ack.Thread)
		require.Nil(k.t, ack.Fault)
		for _, r := range rs {
			info, ok := find(r, "x")
			require.True(k.t, ok)
			require.Equalf(k.t, text, info.Description, "the definition at %s", r.ID())
		}
	}
}

// refreshWhilePending registers twice before the router above has answered the
// first: what it knows in the end has to be the second.
func refreshWhilePending(k *kit) {
	mid := k.registry("mid", under("root"))
	root, _ := k.wire(mid, "root", everything, `[]`)
	leaf, _ := k.wire(mid, "leaf", everything, `[]`)
	leaf.register(`{"id":"x","description":"first"}`)
	first := root.expect(bus.RegisterRequest)
	leaf.register(`{"id":"x","description":"second"}`)
	leaf.flush()
	last, err := first.Definition()
	require.NoError(k.t, err)
	root.ack(first)
	leaf.expect(bus.RegisterResponse)
	for last.Description != "second" {
		if !k.poll(func() bool { return root.received(bus.RegisterRequest) > 0 }, settleTime) {
			k.t.Fatalf("the router was told %q, and never of the refresh", last.Description)
		}
		next := root.expect(bus.RegisterRequest)
		last, err = next.Definition()
		require.NoError(k.t, err)
		root.ack(next)
	}
	leaf.expect(bus.RegisterResponse)
	info, _ := find(mid, "x")
	require.Equal(k.t, "second", info.Description)
	k.settled(mid)
}
