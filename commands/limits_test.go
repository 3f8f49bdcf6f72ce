package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func TestRule24MaxMessageBytesCoversMetadata(t *testing.T) {
	t.Parallel()
	const limit = 4096
	large := message.Metadata{"note": strings.Repeat("m", 2*limit)}
	overWires(t, func(t *testing.T, link func(a, b string) (chA, chB *bus.Channel)) {
		r := newRegistry(t, commands.Config{ID: "r", MaxMessageBytes: limit})
		ran := 0
		handleFunc(t, r, "x", func(context.Context, json.RawMessage) (json.RawMessage, error) { ran++; return nil, nil })
		f := invade(t, r, "peer", everything, offering(`[{"id":"far"}]`), link)
		_, err := r.ExecuteRaw(bus.WithMetadata(within(t), large), "far", nil)
		require.ErrorIs(t, err, commands.ErrInvalidRequest)
		require.ErrorIs(t, err, bus.ErrTooLarge)
		require.ErrorIs(t, r.Events().EmitRaw(bus.WithMetadata(within(t), large), "e", nil), bus.ErrTooLarge)
		require.ErrorIs(t, r.Events().EmitRaw(bus.WithMetadata(within(t), message.Metadata{strings.Repeat("k", 2*limit): ""}), "e", nil), bus.ErrTooLarge)

		f.say(bus.Envelope{ID: "1", Type: bus.ExecuteRequest, Name: "x", Metadata: large})
		got := f.wants(bus.ExecuteResponse)
		assert.Equal(t, "1", got.Thread)
		require.NotNil(t, got.Fault)
		assert.Equal(t, "invalid_request", got.Fault.Code)
		assert.Contains(t, got.Fault.Message, "too large")
		f.say(bus.Envelope{ID: "2", Type: bus.Event, Name: "e", Metadata: large})
		f.say(bus.Envelope{ID: "3", Type: bus.ExecuteRequest, Name: "x"})
		require.Nil(t, f.wants(bus.ExecuteResponse).Fault)
		assert.Equal(t, 1, ran)
		assert.EqualValues(t, 2, f.Link.Stats().Rejected)

		done := goExecute(t, r, "far")
		f.say(bus.Envelope{ID: "4", Type: bus.ExecuteResponse, Thread: f.wants(bus.ExecuteRequest).ID, Body: []byte(`1`), Metadata: large})
		failed := await(t, done)
		require.ErrorIs(t, failed.err, commands.ErrInternal)
		assert.ErrorContains(t, failed.err, "too large")
	})
}

func TestRule24LongErrorTextsAreCut(t *testing.T) {
	t.Parallel()
	overWires(t, func(t *testing.T, link func(a, b string) (chA, chB *bus.Channel)) {
		for _, limit := range []int{4096, 1 << 20} {
			root := newRegistry(t, commands.Config{ID: "root", MaxMessageBytes: limit})
			child := newRegistry(t, commands.Config{ID: "child", RouterChannel: "root", MaxMessageBytes: limit})
			down, up := link("child", "root")
			a, b := attach(t, root, down), attach(t, child, up)
			await(t, a.Ready())
			await(t, b.Ready())
			texts := []string{strings.Repeat("é", 1<<15), strings.Repeat("\x01", 1<<16), "x" + strings.Repeat("\U0001F600", 1<<14)}
			for i, text := range texts {
				id := fmt.Sprint("fail.", i)
				handleFunc(t, child, id, func(context.Context, json.RawMessage) (json.RawMessage, error) {
					return nil, commands.Errorf(commands.NotFound, "%s", text)
				})
				eventually(t, id, func() bool { return knows(root, id) })
				_, err := root.ExecuteRaw(within(t), id, nil)
				require.ErrorIs(t, err, commands.ErrNotFound, "the code arrives")
				got := err.Error()
				assert.LessOrEqual(t, len(got), min(bus.MaxFaultBytes, limit/8))
				assert.Greater(t, len(got), min(bus.MaxFaultBytes, limit/8)-8)
				assert.True(t, utf8.ValidString(got))
				assert.True(t, strings.HasPrefix(text, strings.TrimSuffix(got, "...")))
			}
		}
	})
}

func TestRule24NamesThatAreTooLongAreRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", bus.MaxIDBytes+1)
	overWires(t, func(t *testing.T, link func(a, b string) (chA, chB *bus.Channel)) {
		r := newRegistry(t, commands.Config{ID: "r"})
		f := invade(t, r, "peer", everything, offering(`[{"id":"far"}]`), link)
		require.ErrorIs(t, r.RegisterRaw(within(t), bus.Definition{ID: long}, nothing), commands.ErrInvalidRequest)
		require.ErrorIs(t, r.RegisterRaw(within(t), bus.Definition{ID: "x", Description: strings.Repeat("d", 17<<20)}, nothing), commands.ErrInvalidRequest)
		require.ErrorIs(t, r.Events().EmitRaw(within(t), long, nil), bus.ErrTooLarge)
		for name, ctx := range map[string]context.Context{
			"key":      commands.WithKey(within(t), long),
			"once":     commands.WithOnce(within(t), long),
			"metadata": bus.WithMetadata(within(t), message.Metadata{long: "1"}),
		} {
			_, err := r.ExecuteRaw(ctx, "far", nil)
			require.ErrorIs(t, err, commands.ErrInvalidRequest, name)
			require.ErrorIs(t, err, bus.ErrTooLarge, name)
		}
		router := newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "r"})
		join(t, r, router)
		_, err := router.ExecuteRaw(within(t), long, nil)
		require.ErrorIs(t, err, commands.ErrInvalidRequest)
		assert.Less(t, len(err.Error()), 1024)
		_, err = r.ExecuteRaw(within(t), "far2", nil)
		require.ErrorIs(t, err, commands.ErrNotFound)
		assert.Zero(t, r.Stats().Pending)
		assert.Empty(t, f.got)
	})
}

// What comes is weighed before it is decoded: 32 MB of JSON cost next to nothing. What waits for it ends all the same.
func TestRule24TooLargeMessagesAreNotDecoded(t *testing.T) { // not parallel: it counts what is allocated
	shared := strings.Repeat(`{"a":[1,2,3]},`, 3<<20)
	r := newRegistry(t, commands.Config{ID: "r", MaxMessageBytes: 1 << 20})
	handle(t, r, "x", "1")
	for _, w := range wires {
		if w.name != "JSON" {
			continue
		}
		f := invade(t, r, "peer", 0, offering(`[{"id":"far"}]`), func(a, b string) (chA, chB *bus.Channel) { return w.make(t, a, b) })
		request := jsonMessage(`{"id":"big","type":"execute.command.request","commandId":"x","request":{"l":[` + shared + `1]}}`)
		before := allocated()
		for range 10 {
			f.deliver(request)
			got := f.wants(bus.ExecuteResponse)
			require.Equal(t, "big", got.Thread)
			require.Equal(t, "invalid_request", got.Fault.Code)
		}
		// The Pub/Sub copies messages, not payloads; decoding would allocate at least the request again.
		assert.Less(t, allocated()-before, uint64(len(request.Payload)))
		f.deliver(jsonMessage(`{"id":"big","type":"event","eventId":"e","payload":[` + shared + `1]}`))
		done := goExecute(t, r, "far")
		ask := f.wants(bus.ExecuteRequest)
		f.deliver(jsonMessage(`{"id":"r","type":"execute.command.response","thid":"` + ask.ID + `","response":{"ok":true,"result":[` + shared + `1]}}`))
		got := await(t, done)
		require.ErrorIs(t, got.err, commands.ErrInternal)
		assert.ErrorContains(t, got.err, "too large")
		assert.EqualValues(t, 12, f.Link.Stats().Rejected)
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// A reply that is none, but says what it answers, ends the call at once.
func TestRule02AMalformedReplyEndsTheCall(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{
		`{"id":"r","type":"execute.command.response","thid":%q}`,
		`{"id":"r","type":"execute.command.response","thid":%q,"response":{"ok":true,"error":{"code":"not_found","message":"?"}}}`,
		`{"id":"r","type":"execute.command.response","thid":%q,"response":{"ok":false}}`,
		`{"id":"r","type":"execute.command.response","thid":%q,"response":{"ok":false,"error":{"message":"no code"}}}`,
		`{"id":"r","type":"execute.command.response","thid":%q,"response":{"ok":false,"error":"text"}}`,
		`{"id":"r","type":"execute.command.response","thid":%q,"response":"text"}`,
		`{"id":"r","type":"execute.command.response","thid":%q,"response":{"ok":true,"result":1},"more":1}`,
		`{"id":"","type":"execute.command.response","thid":%q,"response":{"ok":true}}`,
		`{"type":"execute.command.response","thid":%q,"response":{"ok":true}}`,
		`{"id":"r","type":"execute.command.response","thid":%q,"response":{"ok":true,"result":{"cut off`,
		`{"id":"r","type":"execute.command.response","thid":%q,"response":{"ok":true,"result":"` + "\xff" + `"}}`,
		`{"id":"r","type":"execute.command.response","thid":%q,"response":{"ok":true}} and more`,
	} {
		r := newRegistry(t, commands.Config{ID: "r"})
		f := invade(t, r, "peer", 0, offering(`[{"id":"far"}]`), func(a, b string) (chA, chB *bus.Channel) { return wires[2].make(t, a, b) })
		done := goExecute(t, r, "far")
		f.deliver(jsonMessage(fmt.Sprintf(reply, f.wants(bus.ExecuteRequest).ID)))
		got := await(t, done)
		require.ErrorIs(t, got.err, commands.ErrInternal, reply)
		assert.ErrorContains(t, got.err, "malformed reply", reply)
		assert.EqualValues(t, 1, f.Link.Stats().Rejected)
		assert.Zero(t, r.Stats().Pending)
	}
	r := newRegistry(t, commands.Config{ID: "r"})
	f := invade(t, r, "peer", everything, offering(`[{"id":"far"}]`), func(a, b string) (chA, chB *bus.Channel) { return wires[0].make(t, a, b) })
	done := goExecute(t, r, "far")
	m := jsonMessage("")
	m.Metadata = message.Metadata{"leat-type": "execute.command.response", "leat-id": "1", "leat-thread": f.wants(bus.ExecuteRequest).ID, "leat-fault": "not_found"}
	f.deliver(m)
	assert.ErrorContains(t, await(t, done).err, "malformed reply")
}

// A result that is too large is answered as a failure that says how large it is, whatever makes it so.
func TestRule24AReplyThatIsTooLargeIsReplaced(t *testing.T) {
	t.Parallel()
	overWires(t, func(t *testing.T, link func(a, b string) (chA, chB *bus.Channel)) {
		r := newRegistry(t, commands.Config{ID: "r", MaxMessageBytes: 4096})
		handle(t, r, "x", `"`+strings.Repeat("x", 4090)+`"`)
		handle(t, r, "y", `"`+strings.Repeat("x", 5000)+`"`)
		handleFunc(t, r, "z", func(context.Context, json.RawMessage) (json.RawMessage, error) {
			return nil, errors.New(strings.Repeat("x", 5000))
		})
		f := invade(t, r, "peer", everything, offering(`[]`), link)
		for id, want := range map[string]string{"y": "the limit is 4096", "z": "xxxx"} {
			f.say(bus.Envelope{ID: id, Type: bus.ExecuteRequest, Name: id})
			got := f.wants(bus.ExecuteResponse)
			require.NotNil(t, got.Fault)
			assert.Equal(t, "internal_error", got.Fault.Code)
			assert.Contains(t, got.Fault.Message, want)
		}
	})
}
