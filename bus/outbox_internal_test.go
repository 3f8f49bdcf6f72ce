package bus

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// sentItem is what the model knows of an item that the outbox has accepted.
type sentItem struct {
	id     string
	typ    Type
	behind string // what it must come after, beside those of its own queue
}

// TestRule15ModelOfTheOutbox sends anything in any order, with publishers that come and go, and checks the order in which it leaves.
func TestRule15ModelOfTheOutbox(t *testing.T) {
	t.Parallel()
	types := []Type{Event, ExecuteRequest, ExecuteResponse, RegisterRequest, RegisterResponse, ListResponse, Cancel, Withdraw, Group, Flush, Flushed, Ping}
	rapid.Check(t, func(rt *rapid.T) {
		limit := limits{rapid.IntRange(1, 12).Draw(rt, "items"), rapid.IntRange(600, 6000).Draw(rt, "bytes")}
		o := newOutbox(limit)
		require.Zero(rt, o.len())
		var sent []sentItem
		var left []string
		var mine outItem // what is being published
		publishing, entered, passing := false, false, false
		lastEvent := ""
		publish := func() {
			if passing {
				left = append(left, mine.id)
				o.passed(true)
				passing = false
				return
			}
			if publishing {
				left = append(left, mine.id)
			}
			if publishing && entered {
				o.leave(&mine)
				publishing, entered = false, false
			}
			switch {
			case publishing && o.len() > 1, !publishing && o.len() > 0:
				require.True(rt, o.next(&mine, publishing))
				publishing = true
			case publishing:
				o.mu.Lock()
				o.published(&mine)
				o.busy = false
				o.mu.Unlock()
				publishing = false
			}
		}
		for i := range rapid.IntRange(0, 80).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "publish") {
				publish()
				continue
			}
			it := outItem{id: fmt.Sprint(i), typ: rapid.SampledFrom(types).Draw(rt, "type"), kind: answers, size: rapid.IntRange(1, 5000).Draw(rt, "size")}
			s := sentItem{id: it.id, typ: it.typ}
			switch it.typ {
			case Event, ExecuteRequest:
				it.kind = traffic
			case ExecuteResponse:
				switch rapid.IntRange(0, 2).Draw(rt, "reply") {
				case 0:
					it.free = true
				case 1: // its handler has emitted the last event
					it.after, s.behind = o.lastNumber(), lastEvent
				default: // it keeps its place
					s.behind = lastEvent
				}
			}
			if (it.typ == ExecuteRequest || it.typ == ExecuteResponse) && rapid.Bool().Draw(rt, "pass") {
				idle := !publishing && !passing && o.len() == 0
				require.Equal(rt, idle, o.pass(), "past the lock where nothing is before it, and only there")
				if idle && rapid.Bool().Draw(rt, "cannot") {
					o.passed(false)
				} else if idle {
					sent, mine, passing = append(sent, s), it, true
					continue
				}
			}
			before := o.loads
			publishes, err := o.enter(&it, false)
			if err != nil {
				require.ErrorIs(rt, err, ErrFull)
				k := before[it.kind]
				require.True(rt, k.bytes >= limit.bytes || it.kind == traffic && k.items >= limit.items, "%+v of %+v", k, limit)
				continue
			}
			require.Less(rt, before[it.kind].bytes, 2*limit.bytes)
			if it.typ == Event || it.typ == Group {
				lastEvent = it.id
			}
			sent = append(sent, s)
			if publishes {
				require.False(rt, publishing || passing, "one at a time")
				if rapid.Bool().Draw(rt, "cannot") {
					o.giveBack(it)
				} else {
					mine, publishing, entered = it, true, true
				}
			}
		}
		for publishing || passing || o.len() > 0 {
			publish()
		}
		checkOrder(rt, sent, left)
		require.Equal(rt, [kinds]load{}, o.loads)
		require.Zero(rt, o.requests)
	})
}

func checkOrder(rt *rapid.T, sent []sentItem, left []string) {
	place := make(map[string]int)
	for i, id := range left {
		place[id] = i
	}
	require.Len(rt, place, len(sent), "each leaves once")
	behind := func(t Type) bool { return t == Event || t == ExecuteRequest || t == Group || t == Flush }
	for i, a := range sent {
		if a.behind != "" {
			require.Greater(rt, place[a.id], place[a.behind], "a reply and the event that it has to wait for")
		}
		for _, b := range sent[i+1:] {
			switch {
			case behind(a.typ) && behind(b.typ),
				b.typ == Flush,
				a.typ == ExecuteRequest && b.typ == Cancel,
				a.typ != ExecuteResponse && a.typ != Cancel && !behind(a.typ) && b.typ != ExecuteResponse && b.typ != Cancel && !behind(b.typ):
				require.Less(rt, place[a.id], place[b.id], "%s %s before %s %s", a.typ, a.id, b.typ, b.id)
			}
		}
	}
}

// TestRule04AnAnswerWaitsForFewOthers: whatever waits, an answer is among the first to leave.
func TestRule04AnAnswerWaitsForFewOthers(t *testing.T) {
	t.Parallel()
	o := newOutbox(limits{8192, 1 << 30})
	for i := range 8192 {
		require.NoError(t, o.push(outItem{typ: Event, kind: traffic, id: fmt.Sprint(i)}, false))
	}
	for i := range 100 {
		require.NoError(t, o.push(outItem{typ: ExecuteResponse, kind: answers, free: true, id: "reply"}, false))
		require.NoError(t, o.push(outItem{typ: Withdraw, kind: answers, id: "control"}, false), i)
	}
	var it outItem
	ahead := 0
	for range 200 + 200/aheadInRow {
		o.next(&it, it.typ != "")
		if it.typ != Event {
			ahead++
		}
	}
	require.Equal(t, 200, ahead)
}
