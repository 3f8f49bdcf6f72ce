package pairingtest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/pairing"
)

func fleetEvents() []fleetStatement {
	return []fleetStatement{
		{"five_get_each_once_in_order_of_emission", fiveInOrder, ordered},
		{"one_emits_to_itself_once", emitsToItself, nil},
		{"flush_waits_for_all", fleetFlush, nil},
		{"flush_alone", fleetFlushAlone, nil},
		{"private_events_stay", fleetPrivateEvents, nil},
		{"beside_a_pair_each_once", fleetAndPair, nil},
		{"through_relays", eventsThroughRelays, nil},
		{"an_event_before_the_goodbye_arrives", eventBeforeBye, ordered},
	}
}

func fiveInOrder(k *fleetKit) {
	all := k.nodes(5)
	count := k.volume(500)
	var boxes []*inbox
	for _, n := range all {
		boxes = append(boxes, k.inbox(n.Registry, ">", 5*count))
	}
	var wg sync.WaitGroup
	for _, n := range all {
		wg.Go(func() {
			for i := range count {
				if err := n.Events().EmitRaw(k.ctx, "e", encoded(fmt.Sprintf(`"%s %d"`, n.ID(), i))); err != nil {
					k.t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i, box := range boxes {
		k.awaits(box.full, all[i].ID()+" has all events")
	}
	for _, n := range all {
		k.flush(n.Registry)
	}
	for i, box := range boxes {
		got := box.list()
		require.Lenf(k.t, got, 5*count, "%s", all[i].ID())
		next := map[string]int{}
		for _, p := range got {
			who, _, _ := strings.Cut(strings.Trim(p, `"`), " ")
			require.Equalf(k.t, fmt.Sprintf(`"%s %d"`, who, next[who]), p, "%s", all[i].ID())
			next[who]++
		}
	}
}

func emitsToItself(k *fleetKit) {
	all := k.nodes(2)
	box, there := k.inbox(all[0].Registry, "e", 1), k.inbox(all[1].Registry, "e", 1)
	k.emit(all[0].Registry, "e", "1")
	k.awaits(there.full, "the event there")
	k.flush(all[0].Registry)
	require.Equal(k.t, []string{"1"}, box.list())
	require.Equal(k.t, []string{"1"}, there.list())
}

// fleetFlush: after a flush the others have everything in their listeners' queues.
func fleetFlush(k *fleetKit) {
	all := k.nodes(4)
	count := k.volume(500)
	for i := range count {
		k.emit(all[0].Registry, "e", fmt.Sprint(i))
	}
	k.flush(all[0].Registry)
	for _, n := range all[1:] {
		require.EqualValues(k.t, count, n.Events().Stats().Received)
	}
}

func fleetFlushAlone(k *fleetKit) {
	n := k.node("alone")
	k.emit(n.Registry, "e", "1")
	k.flush(n.Registry)
}

func fleetPrivateEvents(k *fleetKit) {
	all := k.nodes(2)
	box := k.inbox(all[1].Registry, ">", 1)
	k.emit(all[0].Registry, "_private", "1")
	k.emit(all[0].Registry, "public", "2")
	k.awaits(box.full, "the public event")
	require.Equal(k.t, []string{"2"}, box.list())
}

func fleetAndPair(k *fleetKit) {
	all := k.nodes(3)
	down, up := pairing.InMemory(all[1].ID(), all[0].ID())
	k.ready(k.attach(all[0].Registry, down), k.attach(all[1].Registry, up))
	var boxes []*inbox
	for _, n := range all {
		boxes = append(boxes, k.inbox(n.Registry, "e", 90))
	}
	for i := range 30 {
		for _, n := range all {
			k.emit(n.Registry, "e", fmt.Sprintf(`"%s %d"`, n.ID(), i))
		}
	}
	for i, box := range boxes {
		k.awaits(box.full, all[i].ID()+" has all events")
	}
	for range all {
		for _, n := range all {
			k.flush(n.Registry)
		}
	}
	for _, box := range boxes {
		require.Len(k.t, box.list(), 90)
	}
}

func eventsThroughRelays(k *fleetKit) {
	a, left := k.branch("a")
	_, right := k.branch("b")
	k.met(a, a) // that there is one other
	box := k.inbox(right, "e", 20)
	for i := range 20 {
		k.emit(left, "e", fmt.Sprint(i))
	}
	k.awaits(box.full, "the events")
	require.Len(k.t, box.list(), 20)
}

func eventBeforeBye(k *fleetKit) {
	all := k.nodes(2)
	box := k.inbox(all[0].Registry, "e", 100)
	for i := range 100 {
		k.emit(all[1].Registry, "e", fmt.Sprint(i))
	}
	require.NoError(k.t, all[1].fleet.Leave(k.ctx))
	require.NoError(k.t, all[1].Shutdown(context.WithoutCancel(k.ctx)))
	k.awaits(box.full, "the events of one who has left")
	for i, got := range box.list() {
		require.Equal(k.t, json.RawMessage(fmt.Sprint(i)), json.RawMessage(got))
	}
}
