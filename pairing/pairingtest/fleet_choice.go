package pairingtest

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/fleet"
)

type fleetOptions = fleet.Options

func fleetChoice() []fleetStatement {
	return []fleetStatement{
		{"load_spreads", loadSpreads, nil},
		{"the_busy_get_less", busyGetLess, nil},
		{"a_key_stays_where_it_is", keysStay, nil},
		{"a_key_travels_through_a_relay", keyThroughRelay, nil},
		{"a_key_is_not_inherited", keyNotInherited, nil},
	}
}

// team is a caller, and workers that all serve "who", which says who has executed it.
func (k *fleetKit) team(workers int, options ...nodeOptions) (caller *node, team []*node) {
	k.t.Helper()
	all := k.nodes(workers+1, options...)
	for _, n := range all[1:] {
		k.says(n.Registry, "who", strconv.Quote(n.ID()))
	}
	k.serves(all[0], "who", workers)
	k.can(all[:1], "who")
	return all[0], all[1:]
}

func loadSpreads(k *fleetKit) {
	caller, team := k.team(4)
	got := map[string]int{}
	const calls = 400
	for range calls {
		got[k.ok(caller.Registry, "who", "")]++
	}
	require.Len(k.t, got, len(team))
	for who, n := range got {
		require.Greaterf(k.t, n, calls/10, "%s: %v", who, got)
	}
}

// busyGetLess has handlers that do not return: two choices keep the numbers close together.
func busyGetLess(k *fleetKit) {
	all := k.nodes(5)
	started := make(chan string, 200)
	release := make(chan struct{})
	for _, n := range all[1:] {
		k.raw(n.Registry, "wait", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
			started <- n.ID()
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil, ctx.Err()
		})
	}
	k.serves(all[0], "wait", 4)
	k.can(all[:1], "wait")
	const calls = 200
	var answers []<-chan answer
	for range calls {
		answers = append(answers, k.call(k.ctx, all[0].Registry, "wait", ""))
	}
	got := map[string]int{}
	for range calls {
		got[recv(k.kit, started, "a handler's start")]++
	}
	for who, n := range got {
		require.InDeltaf(k.t, calls/4, n, calls/10, "%s: %v", who, got)
	}
	for _, m := range all[0].fleet.Members() {
		require.Equal(k.t, got[m.ID], m.Outstanding)
	}
	close(release)
	for _, c := range answers {
		require.NoError(k.t, recv(k.kit, c, "the answer").err)
	}
	k.rest(all...)
}

// placed says where each of many keys goes.
func (k *fleetKit) placed(r *commands.Registry) map[string]string {
	k.t.Helper()
	got := map[string]string{}
	for i := range 100 {
		key := "key " + strconv.Itoa(i)
		body, err := r.ExecuteRaw(commands.WithKey(k.ctx, key), "who", nil)
		require.NoError(k.t, err)
		got[key] = string(body)
	}
	return got
}

func keysStay(k *fleetKit) {
	caller, team := k.team(3)
	before := k.placed(caller.Registry)
	require.Equal(k.t, before, k.placed(caller.Registry))
	other := k.node("other")
	k.serves(other, "who", 3)
	require.NoError(k.t, other.fleet.Await(k.ctx, "who"))
	require.Equal(k.t, before, k.placed(other.Registry), "every caller picks the same")

	late := k.node("late")
	k.says(late.Registry, "who", `"late"`)
	k.serves(caller, "who", 4)
	moved := 0
	after := k.placed(caller.Registry)
	for key, who := range after {
		if who != before[key] {
			require.Equal(k.t, `"late"`, who, "a key moved between two that have stayed")
			moved++
		}
	}
	require.Greater(k.t, moved, 0)
	require.Less(k.t, moved, 60)

	require.NoError(k.t, late.fleet.Leave(k.ctx))
	k.serves(caller, "who", 3)
	require.Equal(k.t, before, k.placed(caller.Registry))
	require.NoError(k.t, team[0].fleet.Leave(k.ctx))
	k.serves(caller, "who", 2)
	for key, who := range k.placed(caller.Registry) {
		if before[key] != strconv.Quote(team[0].ID()) {
			require.Equal(k.t, before[key], who)
		}
	}
}

func keyThroughRelay(k *fleetKit) {
	caller, _ := k.team(3)
	leaf := k.registry("leaf", under("relay"))
	toLeaf, toRelay := pairing.InMemory("leaf", "relay")
	link := k.attach(caller.Registry, toLeaf)
	k.ready(link, k.attach(leaf, toRelay))
	require.Equal(k.t, k.placed(caller.Registry), k.placed(leaf))
}

func keyNotInherited(k *fleetKit) {
	caller, _ := k.team(3)
	keys := map[string]int{}
	k.raw(caller.Registry, "local", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		return caller.ExecuteRaw(ctx, "who", nil)
	})
	for range 100 {
		body, err := caller.ExecuteRaw(commands.WithKey(k.ctx, "key"), "local", nil)
		require.NoError(k.t, err)
		keys[string(body)]++
	}
	require.Greater(k.t, len(keys), 1, "the handler's own call went by its caller's key")
}
