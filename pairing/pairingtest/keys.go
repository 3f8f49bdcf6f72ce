package pairingtest

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/internal/mac"
)

func keyStatements() []statement {
	return []statement{
		{"sides_that_share_a_key_understand_each_other", sharedKey, nil},
		{"a_key_is_rotated_without_a_pause", rotatedKey, nil},
		{"nothing_gets_through_by_another_key_or_by_none", otherKeys, nil},
		{"what_is_not_signed_changes_nothing", forgeries, nil},
		{"weak_keys_are_refused", weakKeys, nil},
	}
}

// secret is a key that nobody should use.
func secret(name string) []byte { return bytes.Repeat([]byte(name), mac.MinKey) }

// keyed joins two registries by a pair with these keys, as connect does, but does not wait.
func (k *kit) keyed(a, b *commands.Registry, keysA, keysB [][]byte) (ab, ba *bus.Link) {
	k.t.Helper()
	chB, chA := k.pair(b.ID(), a.ID())
	chB.Keys, chA.Keys = keysA, keysB
	return k.attach(a, chB), k.attach(b, chA)
}

// talks has both sides call each other and hear each other's events.
func (k *kit) talks(a, b *commands.Registry, ab, ba *bus.Link) {
	k.t.Helper()
	k.ready(ab, ba)
	k.says(a, "a.who", `"a"`)
	k.says(b, "b.who", `"b"`)
	k.knows(a, "b.who")
	k.knows(b, "a.who")
	require.Equal(k.t, `"b"`, k.ok(a, "b.who", ""))
	require.Equal(k.t, `"a"`, k.ok(b, "a.who", ""))
	in := k.inbox(b, "e", 1)
	k.emit(a, "e", `"é \n"`)
	k.awaits(in.full, "the event")
	require.Zero(k.t, ab.Stats().Rejected)
	require.Zero(k.t, ba.Stats().Rejected)
}

func sharedKey(k *kit) {
	a, b := k.registry("a"), k.registry("b")
	ab, ba := k.keyed(a, b, [][]byte{secret("k")}, [][]byte{secret("k")})
	k.talks(a, b, ab, ba)
}

func rotatedKey(k *kit) {
	old, next := secret("old"), secret("new")
	steps := [][][]byte{{old}, {old, next}, {next, old}, {next}}
	for i := range len(steps) - 1 {
		a, b := k.registry("a"), k.registry("b")
		ab, ba := k.keyed(a, b, steps[i], steps[i+1])
		k.talks(a, b, ab, ba)
	}
}

func otherKeys(k *kit) {
	for _, theirs := range [][][]byte{{secret("other")}, nil} {
		a, b := k.registry("a"), k.registry("b")
		k.says(a, "a.who", `"a"`)
		k.says(b, "b.who", `"b"`)
		_, err := b.Events().ListenRaw("e", func(context.Context, string, json.RawMessage) { k.t.Error("an event got through") })
		require.NoError(k.t, err)
		ab, ba := k.keyed(a, b, [][]byte{secret("k")}, theirs)
		k.emit(a, "e", "")
		k.eventually("both have refused what they got", func() bool { return ab.Stats().Forged > 0 && ba.Stats().Forged > 0 })
		require.False(k.t, has(a, "b.who"))
		require.False(k.t, has(b, "a.who"))
		k.fails(a, "b.who", commands.ErrNotFound)
		require.Equal(k.t, ab.Stats().Rejected, ab.Stats().Forged)
		require.NoError(k.t, ab.Close())
	}
}

func forgeries(k *kit) {
	a, b := k.registry("a"), k.registry("b")
	chB, chA := k.pair("b", "a")
	chB.Keys, chA.Keys = [][]byte{secret("k")}, [][]byte{secret("k")}
	spy := &imposter{Publisher: chA.Publisher}
	chA.Publisher = spy
	ab, ba := k.attach(a, chB), k.attach(b, chA)
	k.talks(a, b, ab, ba)
	var forged uint64
	forge := func(e bus.Envelope, change func(*message.Message)) {
		k.t.Helper()
		e.ID = bus.NewID()
		m, err := codecOf(chA).Marshal(e)
		require.NoError(k.t, err)
		spy.disguise(m)
		if change != nil {
			change(m)
		}
		require.NoError(k.t, chA.Publisher.Publish(chA.Out, m))
		forged++
		k.eventually("it is refused", func() bool { return ab.Stats().Forged >= forged })
	}
	sign := func(name, topic string) func(*message.Message) {
		set, err := mac.New([][]byte{secret(name)})
		require.NoError(k.t, err)
		return func(m *message.Message) { set.Sign("leat link 1", topic, m.Metadata, m.Payload) }
	}
	withdraw := bus.Envelope{Type: bus.Withdraw, Name: "b.who"}
	forge(withdraw, nil)
	forge(withdraw, sign("other", chA.Out))
	forge(withdraw, sign("k", "another topic"))
	forge(withdraw, func(m *message.Message) {
		sign("k", chA.Out)(m)
		m.Metadata["more"] = "than was signed"
	})
	forge(bus.Envelope{Type: bus.Goodbye}, nil)
	forge(bus.Envelope{Type: bus.ListRequest}, nil)
	forge(bus.Envelope{Type: bus.ListResponse, Thread: "x", Body: json.RawMessage("[]")}, sign("other", chA.Out))
	require.Equal(k.t, `"b"`, k.ok(a, "b.who", ""))
	require.NoError(k.t, ab.Err())
}

func weakKeys(k *kit) {
	r := k.registry("r")
	for _, keys := range [][][]byte{{secret("k")[:mac.MinKey-1]}, {nil}, {secret("k"), []byte("x")}, make([][]byte, mac.MaxKeys+1)} {
		ch, _ := k.pair("peer", "r")
		ch.Keys = keys
		_, err := r.RegisterChannel(k.ctx, ch)
		require.ErrorIs(k.t, err, bus.ErrInvalidKeys)
		require.ErrorIs(k.t, err, bus.ErrInvalidChannel)
		ch.Keys = nil
		require.NoError(k.t, k.attach(r, ch).Close(), "it is still its maker's")
	}
}
