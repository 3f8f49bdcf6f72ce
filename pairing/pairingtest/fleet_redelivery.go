package pairingtest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
)

func fleetRedelivery() []fleetStatement {
	return []fleetStatement{
		{"every_message_three_times", everyThrice, nil},
		{"what_is_not_a_fleets_is_rejected", foreign, nil},
	}
}

// repeater publishes everything several times.
type repeater struct {
	message.Publisher
	times int
}

func (r repeater) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		for range r.times {
			if err := r.Publisher.Publish(topic, m.Copy()); err != nil {
				return err
			}
		}
	}
	return nil
}

func everyThrice(k *fleetKit) {
	thrice := nodeOptions{publish: func(next message.Publisher) message.Publisher { return repeater{next, 3} }}
	all := k.nodes(3, thrice)
	var runs atomic.Int64
	for _, n := range all[1:] {
		k.raw(n.Registry, "count", func(_ context.Context, req json.RawMessage) (json.RawMessage, error) {
			runs.Add(1)
			return req, nil
		})
	}
	k.serves(all[0], "count", 2)
	k.can(all[:1], "count")
	box := k.inbox(all[2].Registry, "e", 100)
	for i := range 100 {
		require.Equal(k.t, fmt.Sprint(i), k.ok(all[0].Registry, "count", fmt.Sprint(i)))
		k.emit(all[1].Registry, "e", fmt.Sprint(i))
	}
	k.awaits(box.full, "the events")
	k.flush(all[1].Registry)
	require.EqualValues(k.t, 100, runs.Load())
	require.Len(k.t, box.list(), 100)
	k.eventually("what came again is counted: requests, events, replies", func() bool {
		return all[1].fleet.Stats().Duplicates+all[2].fleet.Stats().Duplicates == 200+200 && all[0].fleet.Stats().Late == 200
	})
	require.NoError(k.t, all[1].fleet.Leave(k.ctx))
	k.serves(all[0], "count", 1)
	k.rest(all[0], all[2])
}

func foreign(k *fleetKit) {
	all := k.nodes(2)
	k.echo(all[1].Registry, "echo")
	k.can(all[:1], "echo")
	pub, _, o := k.broker(k.t)
	topic := func(name string) string {
		if o.Topic != nil {
			return o.Topic(k.namespace + name)
		}
		return k.namespace + name
	}
	for i, md := range []message.Metadata{
		{},
		{"leat-type": "event", "leat-id": "1", "leat-name": "x"},
		{"leat-fleet-from": "p0"},
		{"leat-fleet-from": "stranger", "leat-fleet-session": "1-x", "leat-fleet-kind": "nonsense"},
		{"leat-fleet-from": "stranger", "leat-fleet-session": "1-x", "leat-type": "list.commands.request", "leat-id": "1"},
		{"leat-fleet-from": "stranger", "leat-fleet-session": "1-x", "leat-fleet-kind": "list", "leat-fleet-part": "7/3"},
		{"leat-fleet-from": "stranger", "leat-fleet-session": "1-x", "leat-fleet-kind": "change", "leat-fleet-version": "many"},
	} {
		m := message.NewMessage(fmt.Sprintf("00000000-0000-4000-8000-%012d", i), []byte("{"))
		m.Metadata = md
		require.NoError(k.t, pub.Publish(topic(".inbox.p1"), m))
	}
	k.eventually("all are rejected", func() bool { return all[1].fleet.Stats().Rejected == 7 })
	require.Equal(k.t, "1", k.ok(all[0].Registry, "echo", "1"))
}
