package bus_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
)

func TestEscape(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ plain, wire message.Metadata }{
		"plain values stay, percent signs too": {message.Metadata{"a": "00-x-01", "b": "100%25", "empty": ""}, nil},
		"a space":                              {message.Metadata{"a": "x y"}, message.Metadata{"a": "x%20y"}},
		"a line break, and others with it": {message.Metadata{"a": "x\r\ny", "b": "100%25", "c": "ok"},
			message.Metadata{"a": "x%0D%0Ay", "b": "100%2525", "c": "ok"}},
		"not ASCII":       {message.Metadata{"a": "Jürgen"}, message.Metadata{"a": "J%C3%BCrgen"}},
		"not even text":   {message.Metadata{"a": "\xff\x00"}, message.Metadata{"a": "%FF%00"}},
		"nothing":         {nil, nil},
		"only leat's own": {message.Metadata{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for codec, c := range codecs {
				m, err := c.Marshal(bus.Envelope{ID: "1", Type: bus.Event, Name: "my event", Metadata: tc.plain})
				require.NoError(t, err)
				bus.Escape(m)
				bus.Escape(m) // changes nothing
				want := tc.wire
				if want == nil {
					want = tc.plain
				}
				for k, v := range want {
					assert.Equal(t, v, m.Metadata[k], codec)
				}
				assert.Equal(t, tc.wire != nil, m.Metadata["leat-escaped"] != "")
				back, err := c.Unmarshal(m)
				require.NoError(t, err)
				assert.Equal(t, len(tc.plain), len(back.Metadata))
				for k, v := range tc.plain {
					assert.Equal(t, v, back.Metadata[k], codec)
				}
			}
		})
	}
}

func TestMetadataThatWasNotEscapedProperlyIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range codecs {
		m, err := c.Marshal(bus.Envelope{ID: "1", Type: bus.Event, Name: "e"})
		require.NoError(t, err)
		m.Metadata["a"], m.Metadata["leat-escaped"] = "100%", "1"
		_, err = c.Unmarshal(m)
		require.Error(t, err)
		delete(m.Metadata, "leat-escaped")
		e, err := c.Unmarshal(m)
		require.NoError(t, err, "who does not escape may write what he likes")
		require.Equal(t, "100%", e.Metadata["a"])
	}
}

// Middleware sees the values as they were given, whatever the wire needs; and a
// link in the process does not escape at all.
func TestEscapingIsForTheWireOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		watch := func(h message.HandlerFunc) message.HandlerFunc {
			return func(m *message.Message) ([]*message.Message, error) {
				if v := m.Metadata["user"]; v != "" {
					seen = append(seen, v)
				}
				return h(m)
			}
		}
		l, tp := presentLink(t, -1, bus.Options{Inbound: []message.HandlerMiddleware{watch}})
		f := lifeAt(t, l, time.Now(), everything)
		f.meets(tp)
		f.say(bus.Envelope{Type: bus.Event, ID: "1", Name: "e", Metadata: message.Metadata{"user": "J%C3%BCrgen"}}, "leat-escaped", "1")
		require.Equal(t, []string{"Jürgen"}, seen)
		require.Equal(t, "Jürgen", tp.list(bus.Event)[0].Metadata["user"])

		e := bus.Envelope{ID: "2", Type: bus.ExecuteResponse, Thread: "x", Metadata: message.Metadata{"user": "Jürgen"}}
		require.NoError(t, l.Send(e))
		reply, err := bus.Binary.Marshal(e)
		require.NoError(t, err)
		require.NoError(t, l.PostReply(e, reply))
		sent := tp.take(bus.ExecuteResponse)
		require.Len(t, sent, 2)
		for _, m := range sent {
			require.Equal(t, "J%C3%BCrgen", m.Metadata["user"])
			require.NotEmpty(t, m.Metadata["leat-peer"])
		}
		require.Equal(t, "Jürgen", reply.Metadata["user"], "the middleware's message is left alone")
		require.NotContains(t, reply.Metadata, "leat-session")

		inside := new(tape)
		b := bus.New(bus.Options{Logger: slog.New(slog.DiscardHandler)})
		defer b.Close()
		near, err := b.Attach(context.Background(), &bus.Channel{ID: "near", Publisher: inside, Out: "out", InProcess: true, Heartbeat: beat})
		require.NoError(t, err)
		require.NoError(t, near.Send(e))
		for _, m := range inside.take() {
			require.NotContains(t, m.Metadata, "leat-session", "no presence in a process")
			if m.Metadata["user"] != "" {
				require.Equal(t, "Jürgen", m.Metadata["user"])
			}
		}
	})
}

// Whatever the user's metadata is, it survives a transport that takes nothing
// but printable ASCII without spaces.
func FuzzEscape(f *testing.F) {
	f.Add("traceparent", "00-a-b-01", "note", "100 %\n")
	f.Add("a", "%41", "b", "")
	f.Add("leat-x", " ", "", "\xff")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		e := bus.Envelope{ID: "1", Type: bus.Event, Name: "e"}
		for k, v := range map[string]string{k1: v1, k2: v2} {
			if !strings.HasPrefix(k, "leat-") {
				if e.Metadata == nil {
					e.Metadata = message.Metadata{}
				}
				e.Metadata[k] = v
			}
		}
		for name, c := range codecs {
			m, err := c.Marshal(e)
			require.NoError(t, err)
			bus.Escape(m)
			for k, v := range m.Metadata {
				if i := strings.IndexFunc(v, func(r rune) bool { return r <= ' ' || r >= 0x7f }); i >= 0 {
					t.Fatalf("%s: %q is %q on the wire", name, k, v)
				}
			}
			back, err := c.Unmarshal(m)
			require.NoError(t, err)
			require.Equal(t, e, back)
		}
	})
}
