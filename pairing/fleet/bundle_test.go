package fleet

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
)

func reader() *pump { return &pump{fleet: &Fleet{self: process{"me", "my-session"}}} }

// letters are one of each kind that goes to an inbox, with everything that it can have.
func letters() []outItem {
	from := process{"p1", "1-session"}
	var items []outItem
	for _, l := range []letter{
		{kind: kindProbe, thread: "inbox", sent: 1},
		{kind: kindList, sent: 1 << 50, echo: -7, version: 3, gaps: 2, part: 1, parts: 2, body: []byte(`{"add":[]}`)},
		{kind: kindBye, sent: 5, drained: true},
		{sent: 6, expires: 7, envelope: bus.Envelope{Type: bus.ExecuteRequest, ID: "id", Name: "math.add", Body: json.RawMessage(`{"a":7}`),
			Deadline: time.Second, Depth: 3, Hops: 2, Key: "k\x00\n", Idempotent: true, Durable: true, Once: "once",
			Metadata: message.Metadata{"traceparent": "00-1", "empty": ""}}},
		{envelope: bus.Envelope{Type: bus.ExecuteRequest, ID: "id", Name: "none"}},
		{envelope: bus.Envelope{Type: bus.ExecuteResponse, Thread: "id", Body: json.RawMessage(`18`)}},
		{envelope: bus.Envelope{Type: bus.ExecuteResponse, Thread: "id", Fault: &bus.Fault{Code: "not_found", Message: "nö", Unrouted: true}}},
		{envelope: bus.Envelope{Type: bus.ExecuteResponse, Thread: "id", Fault: &bus.Fault{Code: "not_found", Message: "x", Looped: true,
			Reason: "user.unknown", Details: json.RawMessage(`{"id":7}`)}}},
		{envelope: bus.Envelope{Type: bus.Cancel, Thread: "id"}},
	} {
		l.process, l.to = from, "my-session"
		items = append(items, outItem{letter: &l})
	}
	return items
}

// TestBundle: what goes in comes out.
func TestBundle(t *testing.T) {
	want := letters()
	got := bundles(want, maxBundle, false)
	require.Len(t, got, 1)
	require.True(t, isBundle(got[0].Payload))
	p := reader()
	bad, err := p.unbundle(got[0].Payload)
	require.NoError(t, err)
	require.Zero(t, bad)
	require.Len(t, p.letters, len(want))
	for i := range want {
		require.Equal(t, *want[i].letter, p.letters[i])
	}
}

// TestBundleKeepsMetadataApart: an entry with an empty key changes no other.
func TestBundleKeepsMetadataApart(t *testing.T) {
	md := message.Metadata{"tenant": "acme", "": "other", "empty": ""}
	l := letter{process: process{"p1", "1-session"}, envelope: bus.Envelope{Type: bus.ExecuteRequest, ID: "1", Name: "x", Metadata: md}}
	for range 20 { // maps have no order
		got := bundles([]outItem{{letter: &l}}, maxBundle, false)
		p := reader()
		_, err := p.unbundle(got[0].Payload)
		require.NoError(t, err)
		require.Equal(t, md, p.letters[0].envelope.Metadata)
	}
}

// TestBundlesAreBounded: a bundle ends before it gets long, and with the session that it is for; a long letter goes alone.
func TestBundlesAreBounded(t *testing.T) {
	var items []outItem
	for i, n := range []int{100, maxBundle / 2, maxBundle / 2, 3 * maxBundle, 1, 1, 1} {
		to := "my-session"
		if i == 6 {
			to = "another"
		}
		items = append(items, outItem{letter: &letter{process: process{"p1", "s"}, to: to, kind: kindList, body: make([]byte, n)}})
	}
	got := bundles(items, maxBundle, false)
	var sizes []int
	for _, m := range got {
		p := reader()
		_, err := p.unbundle(m.Payload)
		require.NoError(t, err)
		sizes = append(sizes, len(p.letters))
	}
	require.Equal(t, []int{2, 1, 1, 2, 1}, sizes)
}

// TestBundleWithABadLetter: it costs the others nothing, wherever it is; what a later version adds is skipped.
func TestBundleWithABadLetter(t *testing.T) {
	good := letters()[5:6]
	for name, bad := range map[string]letter{
		"no type":              {},
		"unknown type":         {envelope: bus.Envelope{Type: "teapot", Thread: "1"}},
		"no name":              {envelope: bus.Envelope{Type: bus.ExecuteRequest, ID: "1"}},
		"no ID":                {envelope: bus.Envelope{Type: bus.ExecuteRequest, Name: "x"}},
		"reply to nothing":     {envelope: bus.Envelope{Type: bus.ExecuteResponse}},
		"reply and fault":      {envelope: bus.Envelope{Type: bus.ExecuteResponse, Thread: "1", Body: json.RawMessage("1"), Fault: &bus.Fault{Code: "x"}}},
		"fault without code":   {envelope: bus.Envelope{Type: bus.ExecuteResponse, Thread: "1", Fault: &bus.Fault{Message: "no code"}}},
		"empty fault":          {envelope: bus.Envelope{Type: bus.ExecuteResponse, Thread: "1", Fault: &bus.Fault{}}},
		"unrouted, no code":    {envelope: bus.Envelope{Type: bus.ExecuteResponse, Thread: "1", Fault: &bus.Fault{Unrouted: true}}},
		"event":                {envelope: bus.Envelope{Type: bus.Event, ID: "1", Name: "x"}},
		"depth below nothing":  {envelope: bus.Envelope{Type: bus.ExecuteRequest, ID: "1", Name: "x", Depth: -1}},
		"a part beyond others": {kind: kindList, part: 3, parts: 2},
		"a part before others": {kind: kindList, part: 0, parts: 2},
	} {
		bad.process, bad.to = good[0].letter.process, good[0].letter.to
		got := bundles([]outItem{good[0], {letter: &bad}, good[0]}, maxBundle, false)
		p := reader()
		n, err := p.unbundle(got[0].Payload)
		require.Error(t, err, name)
		require.Equal(t, 1, n, name)
		require.Equal(t, []letter{*good[0].letter, *good[0].letter}, p.letters, name)
	}

	var b bundler
	b.begin(good[0].letter, 0, false)
	start := len(b.data)
	b.add(good[0].letter)
	b.text(99, "news")
	b.number(98, 7)
	binary.BigEndian.PutUint32(b.data[start:], uint32(len(b.data)-start-4))
	p := reader()
	_, err := p.unbundle(b.data)
	require.NoError(t, err)
	require.Equal(t, []letter{*good[0].letter}, p.letters)
}

// FuzzBundle: nothing that comes makes a reader fail, and what it takes it can write again.
func FuzzBundle(f *testing.F) {
	for i := range letters() {
		got := bundles(letters()[i:], maxBundle, false)
		f.Add(string(got[0].Payload))
	}
	f.Add(bundleMark)
	f.Add(bundleMark + strings.Repeat("\xff", 20))
	f.Fuzz(func(t *testing.T, payload string) {
		m := &message.Message{Payload: []byte(payload)}
		if !isBundle(m.Payload) {
			return
		}
		p := reader()
		bad, err := p.unbundle(m.Payload)
		require.Equal(t, bad > 0, err != nil)
		if len(p.letters) == 0 {
			return
		}
		var items []outItem
		for i := range p.letters {
			items = append(items, outItem{letter: &p.letters[i]})
		}
		again := bundles(items, maxBundle, false)
		q := reader()
		for _, m := range again {
			_, err := q.unbundle(m.Payload)
			require.NoError(t, err)
		}
		for i := range p.letters { // which nobody asks for, and is not written
			if e := &p.letters[i].envelope; e.Type != bus.ExecuteRequest {
				e.ID = ""
			}
			if l := &p.letters[i]; l.kind != "" {
				l.envelope = bus.Envelope{}
			}
		}
		require.Equal(t, p.letters, q.letters)
	})
}
