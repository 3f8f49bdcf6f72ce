package bus_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
)

var codecs = map[string]bus.Codec{"binary": bus.Binary, "json": bus.JSON}

// envelopes has one of each kind, and the odd ones.
func envelopes() []bus.Envelope {
	return []bus.Envelope{
		{ID: "1", Type: bus.RegisterRequest, Body: json.RawMessage(`{"id":"math.add","description":"","schema":{"request":{"type":"object"}}}`)},
		{ID: "2", Type: bus.RegisterResponse, Thread: "1"},
		{ID: "3", Type: bus.RegisterResponse, Thread: "1", Fault: &bus.Fault{Code: "duplicate_command"}},
		{ID: "4", Type: bus.ListRequest, Features: bus.CanCancel | bus.CanFlush | bus.Shared},
		{ID: "5", Type: bus.ListResponse, Thread: "4", Body: json.RawMessage(`[]`)},
		{ID: "6", Type: bus.ListResponse, Thread: "4", Body: json.RawMessage(`[{"id":"a"},{"id":"b","description":"B"}]`)},
		{ID: "7", Type: bus.ExecuteRequest, Name: "math.add", Body: json.RawMessage(`{"a":12345678901234567890,"b":1.0}`)},
		{ID: "8", Type: bus.ExecuteRequest, Name: "void"},
		{ID: "9", Type: bus.ExecuteRequest, Name: "null", Body: json.RawMessage(`null`)},
		{ID: "10", Type: bus.ExecuteRequest, Name: "x", Deadline: 1500 * time.Microsecond, Depth: 3, Hops: 2, Key: "a key\n%20", Idempotent: true,
			Metadata: message.Metadata{"traceparent": "00-a-b-01", "empty": ""}},
		{ID: "11", Type: bus.ExecuteResponse, Thread: "10", Body: json.RawMessage(`"<&> \"q\""`)},
		{ID: "12", Type: bus.ExecuteResponse, Thread: "10", Body: json.RawMessage(`null`)},
		{ID: "13", Type: bus.ExecuteResponse, Thread: "10"},
		{ID: "14", Type: bus.ExecuteResponse, Thread: "10", Fault: &bus.Fault{Code: "not_found", Message: "", Unrouted: true}},
		{ID: "15", Type: bus.ExecuteResponse, Thread: "10", Fault: &bus.Fault{Code: "made up", Message: "line\nbreak"}},
		{ID: " ü\n%20\x00 ", Type: bus.Event, Name: " an event %", Body: json.RawMessage(`[1,2]`), Life: time.Second},
		{ID: "17", Type: bus.Event, Name: "e"},
		{ID: "18", Type: bus.Cancel, Thread: "10"},
		{ID: "19", Type: bus.Withdraw, Name: "math.add"},
		{ID: "20", Type: bus.Goodbye},
		{ID: "21", Type: bus.Flush},
		{ID: "22", Type: bus.Flushed, Thread: "21"},
		{ID: "23", Type: bus.Ping},
		{ID: "24", Type: bus.Group, Key: "a.group-1", Name: "user.>", Hops: 2},
		{ID: "25", Type: bus.Group, Key: "g", Name: "e"},
		{ID: "26", Type: bus.Event, Name: "e", Groups: new(bus.GroupSet)},
		{ID: "27", Type: bus.Event, Name: "e", Groups: &bus.GroupSet{"a", "b.c"}, Only: true},
		{ID: "28", Type: bus.ExecuteRequest, Name: "x", Durable: true, Once: " ü\n%20 "},
		{ID: "29", Type: bus.ListResponse, Thread: "4", Body: json.RawMessage(`[{"id":"a"}]`), Durable: true},
		{ID: "30", Type: bus.RegisterRequest, Body: json.RawMessage(`{"id":"a"}`), Durable: true},
	}
}

func TestCodecsRoundTrip(t *testing.T) {
	t.Parallel()
	for name, c := range codecs {
		for _, e := range envelopes() {
			m, err := c.Marshal(e)
			require.NoError(t, err, "%s %+v", name, e)
			for k, v := range m.Metadata {
				if strings.HasPrefix(k, "leat-") {
					assert.NotContains(t, v, " ", "%s: brokers trim and fold header values", k)
					assert.NotContains(t, v, "\n", k)
				}
			}
			assert.LessOrEqual(t, len(m.UUID), 36)
			back, err := c.Unmarshal(m)
			require.NoError(t, err, "%s %+v", name, e)
			assert.Equal(t, e, back, name)
		}
	}
}

func TestJSONPayloadIsTheCanonicalMessage(t *testing.T) {
	t.Parallel()
	want := []string{
		`{"id":"1","type":"register.command.request","command":{"id":"math.add","description":"","schema":{"request":{"type":"object"}}}}`,
		`{"id":"2","type":"register.command.response","thid":"1","response":{"ok":true}}`,
		`{"id":"3","type":"register.command.response","thid":"1","response":{"ok":false,"error":"duplicate_command"}}`,
		`{"id":"4","type":"list.commands.request"}`,
		`{"id":"5","type":"list.commands.response","thid":"4","commands":[]}`,
		`{"id":"6","type":"list.commands.response","thid":"4","commands":[{"id":"a"},{"id":"b","description":"B"}]}`,
		`{"id":"7","type":"execute.command.request","commandId":"math.add","request":{"a":12345678901234567890,"b":1.0}}`,
		`{"id":"8","type":"execute.command.request","commandId":"void"}`,
		`{"id":"9","type":"execute.command.request","commandId":"null","request":null}`,
		`{"id":"10","type":"execute.command.request","commandId":"x"}`,
		`{"id":"11","type":"execute.command.response","thid":"10","response":{"ok":true,"result":"<&> \"q\""}}`,
		`{"id":"12","type":"execute.command.response","thid":"10","response":{"ok":true,"result":null}}`,
		`{"id":"13","type":"execute.command.response","thid":"10","response":{"ok":true}}`,
		`{"id":"14","type":"execute.command.response","thid":"10","response":{"ok":false,"error":{"code":"not_found","message":""}}}`,
	}
	for i, e := range envelopes()[:len(want)] {
		m, err := bus.JSON.Marshal(e)
		require.NoError(t, err)
		assert.Equal(t, want[i], string(m.Payload))
	}
	m, err := bus.JSON.Marshal(bus.Envelope{ID: "1", Type: bus.RegisterResponse, Thread: "2", Fault: &bus.Fault{Code: "timeout"}})
	require.NoError(t, err)
	assert.Contains(t, string(m.Payload), `"error":"duplicate_command"`, "the only word that the canonical form has")
	back, err := bus.JSON.Unmarshal(m)
	require.NoError(t, err)
	assert.Equal(t, "timeout", back.Fault.Code, "the precise one is beside it")
}

func TestCodecsRefuseWhatIsNotAMessage(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		``, `null`, `7`, `[]`, `{`, `{}`, `{"id":"1"}`, `{"id":"1","type":"nonsense"}`, `{"id":1,"type":"event","eventId":"e"}`,
		`{"id":"","type":"event","eventId":"e"}`, `{"id":"1","type":"event"}`, `{"id":"1","type":"event","eventId":""}`,
		`{"id":"1","type":"event","eventId":"e","extra":1}`, `{"ID":"1","type":"event","eventId":"e"}`,
		`{"id":"1","id":"2","type":"event","eventId":"e"}`, `{"id":"1","type":"event","eventId":"e"} {}`,
		`{"id":"1","type":"event","eventId":"e","payload":{"a":1,"a":2}}`,
		`{"id":"1","type":"execute.command.response","thid":"2","response":{"ok":true,"error":{"code":"x","message":""}}}`,
		`{"id":"1","type":"execute.command.response","thid":"2","response":{"ok":false}}`,
		`{"id":"1","type":"execute.command.response","thid":"2","response":{"ok":false,"result":1,"error":{"code":"x","message":""}}}`,
		`{"id":"1","type":"execute.command.response","thid":"2","response":{"ok":false,"error":{"code":"","message":""}}}`,
		`{"id":"1","type":"execute.command.response","response":{"ok":true}}`,
		`{"id":"1","type":"register.command.response","thid":"2","response":{"ok":true,"error":"duplicate_command"}}`,
		`{"id":"1","type":"register.command.response","thid":"2","response":{"ok":false}}`,
		`{"id":"1","type":"register.command.request","command":{"id":""}}`,
		`{"id":"1","type":"register.command.request","command":{"id":"x","unknown":1}}`,
		`{"id":"1","type":"register.command.request","command":{"id":"x","schema":{"request":5}}}`,
		`{"id":"1","type":"register.command.request","command":{"id":"x","schema":{"response":"object"}}}`,
		`{"id":"1","type":"list.commands.response","thid":"2","commands":[{"id":"a"},{"id":"x","schema":{"request":[]}}]}`,
		`{"id":"1","type":"list.commands.response","thid":"2"}`, `{"id":"1","type":"list.commands.response","thid":"2","commands":null}`,
		`{"id":"1","type":"list.commands.response","thid":"2","commands":[{}]}`,
		`{"id":"1","type":"cancel","thid":"2"}`,
	} {
		e, err := bus.JSON.Unmarshal(message.NewMessage("1", []byte(bad)))
		assert.Error(t, err, "%s gave %+v", bad, e)
	}
	for _, e := range []bus.Envelope{
		{}, {ID: "1"}, {ID: "1", Type: "x"}, {Type: bus.Event, Name: "e"}, {ID: "1", Type: bus.Event},
		{ID: "1", Type: bus.ListRequest, Name: "x"}, {ID: "1", Type: bus.ListRequest, Body: json.RawMessage("1")},
		{ID: "1", Type: bus.ExecuteResponse, Body: json.RawMessage("1")},
		{ID: "1", Type: bus.ExecuteResponse, Thread: "2", Fault: &bus.Fault{}},
		{ID: "1", Type: bus.ExecuteResponse, Thread: "2", Fault: &bus.Fault{Code: "x"}, Body: json.RawMessage("1")},
		{ID: "1", Type: bus.ListResponse, Thread: "2", Body: json.RawMessage("{}")},
	} {
		for name, c := range codecs {
			_, err := c.Marshal(e)
			assert.Error(t, err, "%s %+v", name, e)
		}
	}
	_, err := bus.JSON.Marshal(bus.Envelope{ID: "1", Type: bus.Event, Name: "e", Body: json.RawMessage(`{"a":`)})
	assert.Error(t, err, "a payload that is no JSON does not fit into the canonical form")
}

func TestBinaryLeavesThePayloadAlone(t *testing.T) {
	t.Parallel()
	body := json.RawMessage(" {\"a\" : 1 ,\n\"a\":2}  ")
	m, err := bus.Binary.Marshal(bus.Envelope{ID: "1", Type: bus.Event, Name: "e", Body: body})
	require.NoError(t, err)
	assert.Equal(t, string(body), string(m.Payload))
	e, err := bus.Binary.Unmarshal(m)
	require.NoError(t, err)
	assert.Equal(t, string(body), string(e.Body))
}

func TestNewIDIsAVersion4UUID(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		id := bus.NewID()
		assert.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, id)
		assert.False(t, seen[id])
		seen[id] = true
	}
}

// Whatever a codec accepts it gives back the same.
func checkFixedPoint(t *testing.T, c bus.Codec, m *message.Message) {
	e, err := c.Unmarshal(m)
	if err != nil {
		return
	}
	again, err := c.Marshal(e)
	if err != nil {
		t.Fatalf("accepted %+v and does not give it back: %v", e, err)
	}
	back, err := c.Unmarshal(again)
	if err != nil {
		t.Fatalf("does not take back %+v: %v", e, err)
	}
	e.Body, back.Body = compact(e.Body), compact(back.Body)
	if !reflect.DeepEqual(e, back) {
		t.Fatalf("%+v became %+v", e, back)
	}
}

func compact(b json.RawMessage) json.RawMessage {
	if b == nil {
		return nil
	}
	var out any
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	if d.Decode(&out) != nil {
		return b
	}
	s, _ := json.Marshal(out)
	return s
}

func FuzzJSONCodec(f *testing.F) {
	for _, e := range envelopes() {
		if m, err := bus.JSON.Marshal(e); err == nil {
			f.Add([]byte(m.Payload))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkFixedPoint(t, bus.JSON, message.NewMessage("1", data)) })
}

func FuzzBinaryCodec(f *testing.F) {
	for _, e := range envelopes() {
		m, err := bus.Binary.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.Metadata["leat-type"], m.Metadata["leat-id"], m.Metadata["leat-thread"], m.Metadata["leat-name"],
			m.Metadata["leat-fault"], "leat-deadline", m.Metadata["leat-deadline"], []byte(m.Payload))
	}
	f.Add("event", "1", "", "e", "", "leat-escaped", "1", []byte("1"))
	f.Fuzz(func(t *testing.T, typ, id, thread, name, fault, key, value string, data []byte) {
		m := message.NewMessage("1", data)
		for k, v := range map[string]string{"leat-type": typ, "leat-id": id, "leat-thread": thread, "leat-name": name, "leat-fault": fault, key: value} {
			if v != "" {
				m.Metadata[k] = v
			}
		}
		checkFixedPoint(t, bus.Binary, m)
	})
}

func ExampleCodec() {
	e := bus.Envelope{ID: "42", Type: bus.ExecuteRequest, Name: "math.add", Body: json.RawMessage(`{"a":7,"b":11}`)}
	b, _ := bus.Binary.Marshal(e)
	j, _ := bus.JSON.Marshal(e)
	fmt.Println(b.Metadata["leat-name"], string(b.Payload))
	fmt.Println(string(j.Payload))
	// Output:
	// math.add {"a":7,"b":11}
	// {"id":"42","type":"execute.command.request","commandId":"math.add","request":{"a":7,"b":11}}
}
