package pairingtest

import (
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func inputStatements() []statement {
	return []statement{
		{"malformed", malformedInput, nil},
		{"unknown", unknownInput, nil},
		{"oversized_in", oversizedIn, nil},
		{"oversized_out", oversizedOut, nil},
		{"unsolicited", unsolicited, nil},
	}
}

// garbage is what is no message in either codec.
func garbage() []*message.Message {
	var all []*message.Message
	for _, payload := range []string{"", "{", "null", "[]", `"text"`, "\xff\xfe", `{"id":"1"}`, `{"type":"event"}`,
		`{"id":"1","type":"event"}`, `{"id":"","type":"event","eventId":"x"}`, `{"id":"1","type":"event","eventId":"x","more":1}`,
		`{"id":"1","type":"execute.command.response","thid":"2","response":{"ok":true,"error":{"code":"x","message":"y"}}}`} {
		all = append(all, message.NewMessage(bus.NewID(), []byte(payload)))
	}
	for _, md := range []message.Metadata{
		{"leat-type": "event"},
		{"leat-type": "event", "leat-id": "1"},
		{"leat-type": "event", "leat-name": "x"},
		{"leat-type": "event", "leat-id": "%zz", "leat-name": "x"},
		{"leat-type": "cancel", "leat-id": "1"},
		{"leat-type": "execute.command.request", "leat-id": "1", "leat-name": "x", "leat-deadline": "soon"},
		{"leat-type": "execute.command.request", "leat-id": "1", "leat-name": "x", "leat-depth": "-1"},
	} {
		m := message.NewMessage(bus.NewID(), nil)
		m.Metadata = md
		all = append(all, m)
	}
	return all
}

// listening is a registry with a peer played by hand, that logs what it rejects.
func listening(k *kit, options ...func(*commands.Config)) (*commands.Registry, *wire, *bus.Link, *logbook) {
	k.t.Helper()
	var log logbook
	r := k.registry("r", append(options, func(c *commands.Config) { c.Logger = log.logger() })...)
	k.echo(r, "echo")
	w, link := k.wire(r, "peer", everything, `[{"id":"far"}]`)
	return r, w, link, &log
}

func malformedInput(k *kit) {
	r, w, link, log := listening(k)
	heard := k.inbox(r, ">", 1)
	for i, m := range garbage() {
		w.sendMessage(m)
		w.flush()
		require.EqualValuesf(k.t, i+1, link.Stats().Rejected, "payload %q, metadata %v", m.Payload, m.Metadata)
	}
	require.True(k.t, log.says("rejected", "peer"))
	w.request("", "echo", "1")
	require.Equal(k.t, "1", string(w.expect(bus.ExecuteResponse).Body), "the link lives on")
	require.Empty(k.t, heard.list())
}

func unknownInput(k *kit) {
	_, w, link, log := listening(k)
	m := message.NewMessage(bus.NewID(), []byte(`{"id":"1","type":"teapot"}`))
	m.Metadata = message.Metadata{"leat-type": "teapot", "leat-id": "1"}
	w.sendMessage(m)
	w.flush()
	require.EqualValues(k.t, 1, link.Stats().Rejected)
	require.True(k.t, log.says("teapot"))
	w.request("", "echo", "1")
	w.expect(bus.ExecuteResponse)
}

func maxBytes(n int) func(*commands.Config) {
	return func(c *commands.Config) { c.MaxMessageBytes = n }
}

// text is a JSON string of about that many bytes.
func text(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'x'
	}
	return `"` + string(b) + `"`
}

func oversizedIn(k *kit) {
	_, w, link, log := listening(k, maxBytes(1000))
	w.request("big", "echo", text(2000))
	reply := w.expect(bus.ExecuteResponse)
	require.Equal(k.t, "big", reply.Thread)
	require.NotNil(k.t, reply.Fault)
	require.Equal(k.t, string(commands.InvalidRequest), reply.Fault.Code)
	w.send(bus.Envelope{Type: bus.Event, Name: "x", Body: encoded(text(2000))})
	w.flush()
	require.EqualValues(k.t, 2, link.Stats().Rejected)
	require.True(k.t, log.says("rejected", "large"))
	w.request("", "echo", text(500))
	require.Nil(k.t, w.expect(bus.ExecuteResponse).Fault)
}

func oversizedOut(k *kit) {
	r, w, _, _ := listening(k, maxBytes(1000))
	_, err := r.ExecuteRaw(k.ctx, "far", encoded(text(2000)))
	require.ErrorIs(k.t, err, commands.ErrInvalidRequest)
	require.ErrorIs(k.t, err, bus.ErrTooLarge)
	require.ErrorIs(k.t, r.Events().EmitRaw(k.ctx, "x", encoded(text(2000))), bus.ErrTooLarge)
	k.says(r, "big", text(2000))
	w.request("", "big", "")
	reply := w.expect(bus.ExecuteResponse)
	require.NotNil(k.t, reply.Fault, "a result that is too large")
	require.Equal(k.t, string(commands.Internal), reply.Fault.Code)
	k.settled(r)
}

// unsolicited sends well-formed answers that nobody waits for.
func unsolicited(k *kit) {
	r, w, link, _ := listening(k)
	w.send(bus.Envelope{Type: bus.ExecuteResponse, Thread: "nothing", Body: encoded("1")})
	w.send(bus.Envelope{Type: bus.RegisterResponse, Thread: "nothing"})
	w.send(bus.Envelope{Type: bus.Cancel, Thread: "nothing"})
	w.send(bus.Envelope{Type: bus.Withdraw, Name: "nothing"})
	w.send(bus.Envelope{Type: bus.Flushed, Thread: "nothing"})
	w.flush()
	require.EqualValues(k.t, 2, r.Stats().Late)
	require.NoError(k.t, link.Err())
	w.request("", "echo", "1")
	require.Nil(k.t, w.expect(bus.ExecuteResponse).Fault)
	k.settled(r)
}
