package pairingtest

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func routeRules() []group {
	return []group{
		{"rule06_request_ids_are_opaque", []statement{
			{"echoed_byte_for_byte", idsEchoed, nil},
			{"kept_by_a_relay", idKept, nil},
			{"replaced_and_restored_while_in_flight", idReplaced, nil},
			{"payloads_forwarded_untouched", payloadsUntouched, nil},
			{"a_request_that_comes_twice_is_run_once", requestTwice, nil},
		}},
		{"rule07_a_reply_counts_only_from_where_the_request_went", []statement{
			{"reply_of_another_peer_is_ignored", foreignReply, nil},
			{"second_reply_is_ignored", secondReply, nil},
		}},
		{"rule08_loops_end_in_not_found", []statement{
			{"routers_in_a_cycle", routerCycle, nil},
			{"two_routers_of_each_other", func(k *kit) { loopOf(k, k.cycle(2)) }, nil},
			{"a_call_into_a_cycle", callIntoCycle, nil},
			{"tables_gone_stale", staleTables, nil},
			{"a_request_that_has_hopped_enough", enoughHops, nil},
		}},
	}
}

func idsEchoed(k *kit) {
	r := k.registry("r")
	k.echo(r, "echo")
	w, _ := k.wire(r, "peer", everything, `[]`)
	for _, id := range []string{"1", "a b", " lead and trail ", "line\nbreak\ttab", "100%25", "ümläut ✓", `"quoted\"`, "a/b?c=d&e;f,g",
		strings.Repeat("long", 500)} {
		w.request(id, "echo", `{"a":1}`)
		reply := w.expect(bus.ExecuteResponse)
		require.Equal(k.t, id, reply.Thread)
		require.JSONEq(k.t, `{"a":1}`, string(reply.Body))
	}
}

func idKept(k *kit) {
	r := k.registry("r")
	target, _ := k.wire(r, "target", everything, `[{"id":"x"}]`)
	origin, _ := k.wire(r, "origin", everything, `[]`)
	origin.request("my own id", "x", "1")
	got := target.expect(bus.ExecuteRequest)
	require.Equal(k.t, "my own id", got.ID)
	target.reply(got, "2")
	require.Equal(k.t, "my own id", origin.expect(bus.ExecuteResponse).Thread)
	k.settled(r)
}

func idReplaced(k *kit) {
	r := k.registry("r")
	target, _ := k.wire(r, "target", everything, `[{"id":"x"}]`)
	first, _ := k.wire(r, "first", everything, `[]`)
	second, _ := k.wire(r, "second", everything, `[]`)
	first.request("same", "x", `"first"`)
	one := target.expect(bus.ExecuteRequest)
	second.request("same", "x", `"second"`)
	two := target.expect(bus.ExecuteRequest)
	require.NotEqual(k.t, one.ID, two.ID)
	target.reply(two, string(two.Body))
	target.reply(one, string(one.Body))
	for w, want := range map[*wire]string{first: `"first"`, second: `"second"`} {
		reply := w.expect(bus.ExecuteResponse)
		require.Equal(k.t, "same", reply.Thread)
		require.Equal(k.t, want, string(reply.Body))
	}
	k.settled(r)
}

func payloadsUntouched(k *kit) {
	rs := k.chain(4)
	k.echo(rs[0], "echo")
	for _, body := range []string{"", "null", "9007199254740993", "123456789012345678901234567890", `{"n":1e400,"m":null}`,
		`{"a":"\u2028<>&"}`, "[]", "{}", `"` + strings.Repeat("x", 100_000) + `"`} {
		got := k.ok(rs[3], "echo", body)
		if body == "" {
			require.Empty(k.t, got)
			continue
		}
		require.Equal(k.t, canonical(k, body), canonical(k, got))
	}
}

// canonical is the JSON text without what is no part of the value, numbers as
// they were written.
func canonical(k *kit, text string) string {
	k.t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	require.NoErrorf(k.t, d.Decode(&v), "%q", text)
	out, err := json.Marshal(v)
	require.NoError(k.t, err)
	return string(out)
}

func requestTwice(k *kit) {
	r := k.registry("r")
	k.echo(r, "echo")
	target, _ := k.wire(r, "target", everything, `[{"id":"far"}]`)
	origin, _ := k.wire(r, "origin", everything, `[]`)
	for _, command := range []string{"echo", "far"} {
		for range 3 {
			origin.request("twice "+command, command, "1")
		}
		if command == "far" {
			target.reply(target.expect(bus.ExecuteRequest), "1")
		}
		require.Equal(k.t, "twice "+command, origin.expect(bus.ExecuteResponse).Thread)
	}
	origin.flush()
	target.flush()
	origin.flush()
	require.Zero(k.t, origin.received(bus.ExecuteResponse), "a duplicate was answered")
	require.Zero(k.t, target.received(bus.ExecuteRequest), "a duplicate was forwarded")
	require.EqualValues(k.t, 4, r.Stats().Bus.Duplicates)
	k.settled(r)
}

func foreignReply(k *kit) {
	r := k.registry("r")
	owner, _ := k.wire(r, "owner", everything, `[{"id":"x"}]`)
	other, _ := k.wire(r, "other", everything, `[]`)
	c := k.call(k.ctx, r, "x", "")
	request := owner.expect(bus.ExecuteRequest)
	other.reply(request, `"forged"`)
	other.flush()
	require.Empty(k.t, c)
	require.EqualValues(k.t, 1, r.Stats().Late)
	owner.reply(request, `"real"`)
	a := recv(k, c, "the answer")
	require.NoError(k.t, a.err)
	require.Equal(k.t, `"real"`, string(a.body))
}

func secondReply(k *kit) {
	r := k.registry("r")
	w, _ := k.wire(r, "peer", everything, `[{"id":"x"}]`)
	for range 2 {
		c := k.call(k.ctx, r, "x", "")
		request := w.expect(bus.ExecuteRequest)
		w.reply(request, `1`)
		w.reply(request, `2`)
		require.Equal(k.t, "1", string(recv(k, c, "the answer").body))
		w.flush()
	}
	require.EqualValues(k.t, 2, r.Stats().Late)
	k.settled(r)
}

func routerCycle(k *kit) {
	for n := 3; n <= 5; n++ {
		loopOf(k, k.cycle(n))
	}
}

// loopOf calls what nobody has in registries that each escalate to the next.
func loopOf(k *kit, rs []*commands.Registry) {
	k.t.Helper()
	for _, r := range rs {
		k.fails(r, "nobody.has.this", commands.ErrNotFound)
	}
	k.boundedLoop(len(rs), rs)
}

// boundedLoop checks what n looping requests have cost.
func (k *kit) boundedLoop(n int, rs []*commands.Registry) {
	k.t.Helper()
	k.settled(rs...)
	var forwarded, loops uint64
	for _, r := range rs {
		s := r.Stats()
		forwarded += s.Forwarded
		loops += s.Loops
	}
	require.LessOrEqual(k.t, forwarded, uint64(n*(bus.MaxHops+1)), "more was forwarded than hops allow")
	require.LessOrEqual(k.t, loops, uint64(n))
}

func callIntoCycle(k *kit) {
	rs := k.cycle(3)
	outside := k.registry("outside", under(rs[0].ID()))
	k.connect(rs[0], outside)
	k.fails(outside, "nobody.has.this", commands.ErrNotFound)
	k.boundedLoop(1, rs)
}

// staleTables makes each of three registries believe that the next one has the
// command.
func staleTables(k *kit) {
	var rs []*commands.Registry
	for i := range 3 {
		rs = append(rs, k.registry(fmt.Sprintf("s%d", i)))
	}
	for i, r := range rs {
		next := rs[(i+1)%3]
		toNext, toR := k.pair(next.ID(), r.ID())
		impersonate(toR)
		a, b := k.attach(r, toNext), k.attach(next, toR)
		k.ready(a, b)
		inject(k, toR, bus.Envelope{Type: bus.ListResponse, Thread: "nobody asked", Body: json.RawMessage(`[{"id":"gone"}]`)})
	}
	for _, r := range rs {
		k.knows(r, "gone")
	}
	outside := k.registry("outside", under(rs[0].ID()))
	k.connect(rs[0], outside)
	k.fails(outside, "gone", commands.ErrNotFound)
	k.boundedLoop(1, rs)
	for _, r := range rs {
		k.forgets(r, "gone")
	}
}

func enoughHops(k *kit) {
	r := k.registry("r")
	target, _ := k.wire(r, "target", everything, `[{"id":"x"}]`)
	origin, _ := k.wire(r, "origin", everything, `[]`)
	origin.send(bus.Envelope{ID: "traveller", Type: bus.ExecuteRequest, Name: "x", Hops: bus.MaxHops})
	reply := origin.expect(bus.ExecuteResponse)
	require.NotNil(k.t, reply.Fault)
	require.Equal(k.t, string(commands.NotFound), reply.Fault.Code)
	target.flush()
	require.Zero(k.t, target.received(bus.ExecuteRequest))
	require.True(k.t, has(r, "x"), "a loop is no reason to forget a command")
}
