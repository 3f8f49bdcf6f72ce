package pairingtest

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/pairing/fleet"
)

func fleetKeys() []fleetStatement {
	return []fleetStatement{
		{"processes_that_share_a_key_are_a_fleet", fleetSharesKey, nil},
		{"a_key_is_rotated_without_a_pause", fleetRotatesKey, nil},
		{"nothing_gets_through_by_another_key_or_by_none", fleetOtherKeys, nil},
		{"weak_keys_are_refused", fleetWeakKeys, nil},
	}
}

func withKeys(keys ...[]byte) nodeOptions {
	return nodeOptions{fleet: func(o *fleet.Options) { o.Keys = keys }}
}

// teams has all of them call each other and hear each other's events.
func (k *fleetKit) teams(all ...*node) {
	k.t.Helper()
	k.met(all...)
	for i, n := range all {
		k.says(n.Registry, "who."+strconv.Itoa(i), strconv.Itoa(i))
	}
	for i, n := range all {
		for j := range all {
			if i != j {
				k.can([]*node{n}, "who."+strconv.Itoa(j))
				require.Equal(k.t, strconv.Itoa(j), k.ok(n.Registry, "who."+strconv.Itoa(j), ""))
			}
		}
	}
	in := k.inbox(all[len(all)-1].Registry, "e", 1)
	k.emit(all[0].Registry, "e", `"é"`)
	k.awaits(in.full, "the event")
	for _, n := range all {
		require.Zero(k.t, n.fleet.Stats().Forged)
	}
}

func fleetSharesKey(k *fleetKit) {
	k.teams(k.node("a", withKeys(secret("k"))), k.node("b", withKeys(secret("k"))), k.node("c", withKeys(secret("k"))))
}

// fleetRotatesKey has three processes of which one has made the next step, then two, then all, and so on.
func fleetRotatesKey(k *fleetKit) {
	old, next := secret("old"), secret("new")
	steps := [][][]byte{{old}, {old, next}, {next, old}, {next}}
	for i := range len(steps) - 1 {
		a, b := k.node("a"+strconv.Itoa(i), withKeys(steps[i]...)), k.node("b"+strconv.Itoa(i), withKeys(steps[i+1]...))
		k.teams(a, b)
		require.NoError(k.t, a.fleet.Close())
		require.NoError(k.t, b.fleet.Close())
	}
}

func fleetOtherKeys(k *fleetKit) {
	a, b := k.node("a", withKeys(secret("k"))), k.node("b", withKeys(secret("k")))
	k.teams(a, b)
	for i, stranger := range []*node{k.node("x", withKeys(secret("other"))), k.node("y", withKeys())} {
		k.says(stranger.Registry, "theirs", "1")
		_, err := stranger.Events().ListenRaw("ours", func(context.Context, string, json.RawMessage) { k.t.Error("an event got through") })
		require.NoError(k.t, err)
		_, err = a.Events().ListenRaw("theirs", func(context.Context, string, json.RawMessage) { k.t.Error("an event got through") })
		require.NoError(k.t, err)
		k.emit(stranger.Registry, "theirs", "")
		k.emit(a.Registry, "ours", "")
		k.eventually("both have refused what they got", func() bool {
			return a.fleet.Stats().Forged > uint64(i) && stranger.fleet.Stats().Forged > 0
		})
		require.Empty(k.t, stranger.fleet.Members())
		require.Len(k.t, a.fleet.Members(), 1)
		require.Equal(k.t, a.fleet.Stats().Rejected, a.fleet.Stats().Forged)
	}
	require.Equal(k.t, "1", k.ok(a.Registry, "who.1", ""))
}

func fleetWeakKeys(k *fleetKit) {
	pub, sub, o := k.broker(k.t)
	o.Namespace, o.Keys = k.namespace, [][]byte{[]byte("short")}
	_, err := fleet.New(k.ctx, pub, sub, o)
	require.ErrorIs(k.t, err, bus.ErrInvalidKeys)
}
