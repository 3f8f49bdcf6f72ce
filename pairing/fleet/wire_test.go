package fleet

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
)

var record = flag.Bool("record", false, "write testdata/wire: only for a version of the wire that was not released")

// recorded is one message, as it was on the wire of a version.
type recorded struct {
	Name     string            `json:"name"`
	Role     role              `json:"role"` // of the topic
	Metadata map[string]string `json:"metadata,omitempty"`
	Payload  []byte            `json:"payload"`
	Letters  []string          `json:"letters"` // what is read in it
}

// spoken is one message of each kind.
func spoken() (all []recorded) {
	self, other := process{"sender", "9bkkzr8qo0-sender"}, "9bkkzr8qo0-reader"
	about := letter{process: self, sent: 1000, lease: 6e6, wire: 1, oldest: 1, version: 3, hash: strings.Repeat("ab", 16), gaps: 1}
	of := func(kind string, change func(*letter)) letter {
		l := about
		l.kind = kind
		change(&l)
		return l
	}
	def := bus.Definition{ID: "math.add", Description: "Sum", Schema: &bus.Schema{Request: json.RawMessage(`{"type":"object"}`)}}
	what := newCatalogue([]bus.Definition{def, {ID: "job", Durable: true}})
	groups := newInterests([]interest{{"g", "order.*"}})
	what.Join, what.From, what.Remove = groups.Join, strings.Repeat("00", 16), []string{"old"}
	what.Leave = []interest{{"h", "x"}}
	single := func(name string, r role, l letter) {
		m, err := l.seal()
		if err != nil {
			panic(err)
		}
		all = append(all, recorded{Name: name, Role: r, Metadata: m.Metadata, Payload: m.Payload})
	}
	bundle := func(name string, letters ...letter) {
		var items []outItem
		for i := range letters {
			letters[i].to = other
			items = append(items, outItem{letter: &letters[i]})
		}
		for _, m := range bundles(items, maxBundle, false) {
			all = append(all, recorded{Name: name, Role: inbox, Payload: m.Payload})
		}
	}
	body := func(v any) func(*letter) { return func(l *letter) { l.body = encode(v) } }
	single("hello", discovery, of(kindHello, func(l *letter) { l.age = 5; l.body = encode(notice{Knows: []string{other}, Size: 1}) }))
	single("beat", discovery, of(kindBeat, body(notice{Welcome: []string{other}})))
	single("suspect", discovery, of(kindSuspect, body(notice{Suspect: []string{other}})))
	single("change", discovery, of(kindChange, body(what)))
	single("drain", discovery, of(kindDrain, func(l *letter) { l.thread = "leave" }))
	single("bye", discovery, of(kindBye, func(l *letter) { l.drained = true }))
	single("flush", news, of(kindFlush, func(l *letter) { l.thread = "flush" }))
	single("event", news, letter{process: self, sent: 1000, picks: "g=" + other, envelope: bus.Envelope{ID: "e1", Type: bus.Event, Name: "order.placed",
		Body: json.RawMessage(`{"n":1}`), Metadata: message.Metadata{"traceparent": "00-1"}}})
	bundle("notices", of(kindPing, func(l *letter) { l.digest = 7 }), of(kindPong, func(l *letter) { l.digest, l.echo = 7, 900 }), of(kindJoin, func(*letter) {}),
		of(kindSync, body(view{Buckets: []uint64{1, 1 << 63}})), of(kindView, func(l *letter) {
			l.part, l.parts, l.echo = 1, 2, 900
			l.body = encode(view{Members: []entry{{"x", "9bkkzr8qo0-x", 2, strings.Repeat("cd", 16), 6e6, 1, 1}}, New: true})
		}),
		of(kindFetch, func(l *letter) { l.thread = about.hash }), of(kindList, func(l *letter) { l.part, l.parts, l.echo, l.body = 1, 1, 900, encode(what) }),
		of(kindConfirm, func(l *letter) { l.thread, l.body = "leave", []byte("e1") }), of(kindFlushed, func(l *letter) { l.thread = "flush" }))
	bundle("messages", letter{process: self, sent: 1000, expires: 2000, envelope: bus.Envelope{ID: "r1", Type: bus.ExecuteRequest, Name: "math.add",
		Body: json.RawMessage(`{"a":1}`), Deadline: time.Second, Depth: 1, Hops: 2, Key: "k", Idempotent: true, Metadata: message.Metadata{"a": "b"}}},
		letter{process: self, sent: 1000, envelope: bus.Envelope{Type: bus.ExecuteResponse, Thread: "r2", Body: json.RawMessage(`3`)}},
		letter{process: self, sent: 1000, again: true, envelope: response("r3", &bus.Fault{Code: codeDisconnected, Message: "gone", Unrouted: true})},
		letter{process: self, sent: 1000, envelope: bus.Envelope{Type: bus.Cancel, Thread: "r4"}})
	return all
}

// read returns what a process understands of a message.
func (r *recorded) read(t *testing.T) (letters []string) {
	t.Helper()
	f := new(Fleet)
	f.self = process{"reader", "9bkkzr8qo0-reader"}
	p := pump{fleet: f, role: r.Role}
	bad, err := p.read(&message.Message{Payload: r.Payload, Metadata: r.Metadata})
	require.NoErrorf(t, err, "%s", r.Name)
	require.Zerof(t, bad, "%s", r.Name)
	for i := range p.letters {
		l := &p.letters[i]
		body := ""
		if l.kind == kindConfirm { // those of the others are read
			body = string(l.body)
		}
		e := &l.envelope
		var defs []string
		for _, def := range l.what.defs {
			defs = append(defs, fmt.Sprintf("%s/%s/%v/%v", def.ID, def.Description, def.Durable, def.Schema != nil))
		}
		letters = append(letters, fmt.Sprint(l.kind, " ", l.process, l.to, l.sent, l.echo, l.expires, l.version, l.gaps, l.lease, l.wire, l.oldest, l.digest, l.age, l.hash,
			l.part, l.parts, l.thread, l.picks, l.drained, l.again, body, l.names, l.notice, l.view, l.what.From, l.what.Remove, l.what.Leave, l.what.Durable, l.what.joins,
			defs, e.ID, e.Type, e.Thread, e.Name, string(e.Body), e.Fault, e.Key, e.Idempotent, e.Depth, e.Hops, e.Deadline, e.Metadata))
	}
	return letters
}

func recordings(t *testing.T) map[string][]recorded {
	t.Helper()
	files, err := filepath.Glob("testdata/wire/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	all := make(map[string][]recorded)
	for _, name := range files {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		var some []recorded
		require.NoError(t, json.Unmarshal(data, &some))
		all[filepath.Base(name)] = some
	}
	return all
}

// TestFleetReadsEachReleasedWire: what a process of each version has written is read as it was then.
func TestFleetReadsEachReleasedWire(t *testing.T) {
	t.Parallel()
	if *record {
		all := spoken()
		for i := range all {
			all[i].Letters = all[i].read(t)
		}
		data, err := json.MarshalIndent(all, "", "\t")
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll("testdata/wire", 0o755))
		require.NoError(t, os.WriteFile(fmt.Sprintf("testdata/wire/%d.json", wireVersion), append(data, '\n'), 0o644))
	}
	for version, all := range recordings(t) {
		for _, r := range all {
			require.Equalf(t, r.Letters, r.read(t), "version %s, %s", version, r.Name)
		}
	}
}

// TestFleetSkipsWhatALaterWireAdds: one more field in everything changes nothing: in metadata, in bodies at each level, in letters.
func TestFleetSkipsWhatALaterWireAdds(t *testing.T) {
	t.Parallel()
	for version, all := range recordings(t) {
		for _, r := range all {
			if isBundle(r.Payload) {
				r.Payload = withMoreFields(t, r.Payload)
			} else {
				r.Metadata["leat-fleet-mood"] = "good"
				if r.Metadata[keyKind] != "" {
					r.Payload = withMoreJSON(r.Payload)
				}
			}
			require.Equalf(t, r.Letters, r.read(t), "version %s, %s", version, r.Name)
		}
	}
}

// withMoreJSON adds a field to each object.
func withMoreJSON(body []byte) []byte {
	var v any
	if len(body) == 0 || json.Unmarshal(body, &v) != nil {
		return body
	}
	return []byte(strings.NewReplacer(`{}`, `{"later":{"a":[1]}}`, `{`, `{"later":{"a":[1]},`).Replace(string(body)))
}

// withMoreFields adds a number and a text to each letter of a bundle, and fields to their bodies.
func withMoreFields(t *testing.T, payload []byte) []byte {
	t.Helper()
	u := unbundler{data: payload[len(bundleMark):]}
	for range 3 {
		u.next()
	}
	out := bundler{data: append([]byte(nil), payload[:len(payload)-len(u.data)]...)}
	for len(u.data) > 0 {
		frame := u.frame()
		require.NoError(t, u.err)
		var b bundler
		fields := unbundler{data: frame}
		notice := false
		for len(fields.data) > 0 {
			tag := field(fields.data[0])
			fields.data = fields.data[1:]
			if tag&fieldText == 0 {
				b.number(tag, fields.varint())
				continue
			}
			p := fields.next()
			name := tag &^ fieldText
			notice = notice || name == fieldKind
			if name == fieldBody && notice {
				p = withMoreJSON(p)
			}
			b.always(name, string(p))
		}
		b.number(120, 7)
		b.text(121, "later")
		out.data = append(out.data, byte(len(b.data)>>24), byte(len(b.data)>>16), byte(len(b.data)>>8), byte(len(b.data)))
		out.data = append(out.data, b.data...)
	}
	return out.data
}

// TestFleetWireIsRecorded: this version writes what was recorded of it. Who changes that makes a new version, or adds a field.
func TestFleetWireIsRecorded(t *testing.T) {
	t.Parallel()
	now := spoken()
	was := recordings(t)[fmt.Sprintf("%d.json", wireVersion)]
	require.Len(t, was, len(now))
	for i := range now {
		require.Equal(t, was[i].Name, now[i].Name)
		require.Equal(t, string(was[i].Payload), string(now[i].Payload), now[i].Name)
		require.True(t, reflect.DeepEqual(was[i].Metadata, now[i].Metadata), now[i].Name)
	}
}
