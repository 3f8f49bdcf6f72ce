package commands_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// patience bounds what a test waits for. Nothing ever waits that long.
const patience = 20 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func newRegistry(t testing.TB, cfg commands.Config) *commands.Registry {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	r, err := commands.NewRegistry(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// join pairs two registries by their IDs and waits until both know each other.
func join(t testing.TB, parent, child *commands.Registry, opts ...pairing.Options) (down, up *bus.Link) {
	t.Helper()
	toChild, toParent := pairing.InMemory(child.ID(), parent.ID(), opts...)
	down, up = attach(t, parent, toChild), attach(t, child, toParent)
	await(t, down.Ready())
	await(t, up.Ready())
	settle(t, parent, child)
	return down, up
}

func attach(t testing.TB, r *commands.Registry, ch *bus.Channel) *bus.Link {
	t.Helper()
	l, err := r.RegisterChannel(context.Background(), ch)
	require.NoError(t, err)
	return l
}

// settle waits until nothing that was sent between the registries is on its way.
func settle(t testing.TB, rs ...*commands.Registry) {
	t.Helper()
	for range 3 { // there, back, and what that caused
		for _, r := range rs {
			for _, id := range r.Channels() {
				if l := r.Link(id); l != nil {
					require.NoError(t, l.Flush(within(t)))
				}
			}
		}
	}
}

func await[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		require.FailNow(t, "waited in vain")
	}
	return v
}

// handle registers a raw command that answers with a constant.
func handle(t testing.TB, r *commands.Registry, id, result string) {
	t.Helper()
	require.NoError(t, r.RegisterRaw(within(t), bus.Definition{ID: id}, func(context.Context, json.RawMessage) (json.RawMessage, error) {
		return json.RawMessage(result), nil
	}))
}

func handleFunc(t testing.TB, r *commands.Registry, id string, h commands.RawHandler) {
	t.Helper()
	require.NoError(t, r.RegisterRaw(within(t), bus.Definition{ID: id}, h))
}

func executes(t testing.TB, r *commands.Registry, id string) string {
	t.Helper()
	res, err := r.ExecuteRaw(within(t), id, nil)
	require.NoError(t, err)
	return string(res)
}

// stranger is a peer that speaks the protocol by hand: what the registry sends
// it comes out of sent, and it says what the test says.
type stranger struct {
	t    testing.TB
	Link *bus.Link
	sent chan bus.Envelope
	in   chan *message.Message
	end  chan struct{}
}

// meet attaches a stranger. Mute ones never answer the handshake; the others say what they understand.
func meet(t testing.TB, r *commands.Registry, id string, features bus.Features) *stranger {
	t.Helper()
	s := &stranger{t: t, sent: make(chan bus.Envelope, 4096), in: make(chan *message.Message), end: make(chan struct{})}
	s.Link = attach(t, r, &bus.Channel{ID: id, Publisher: s, Out: "out", Subscriber: s, In: "in"})
	hello := s.next()
	require.Equal(t, bus.ListRequest, hello.Type)
	if features != 0 {
		s.say(bus.Envelope{ID: "hello-" + id, Type: bus.ListResponse, Thread: hello.ID, Body: []byte("[]"), Features: features})
		await(t, s.Link.Ready())
	}
	return s
}

func (s *stranger) Publish(_ string, msgs ...*message.Message) error {
	for _, m := range msgs {
		e, err := bus.Binary.Unmarshal(m)
		if err != nil {
			return err
		}
		select {
		case s.sent <- e:
		case <-s.end:
		}
	}
	return nil
}

func (s *stranger) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	context.AfterFunc(ctx, func() { close(s.end) })
	return s.in, nil
}

func (s *stranger) Close() error { return nil }

// say sends the registry a message, and returns when it has been received.
func (s *stranger) say(e bus.Envelope) {
	s.t.Helper()
	m, err := bus.Binary.Marshal(e)
	require.NoError(s.t, err)
	s.deliver(m)
}

func (s *stranger) deliver(m *message.Message) {
	select {
	case s.in <- m:
	case <-s.end:
	}
}

// next is the next message that the registry sends, other than handshakes that are repeated.
func (s *stranger) next() bus.Envelope {
	s.t.Helper()
	return await(s.t, s.sent)
}

func (s *stranger) wants(typ bus.Type) bus.Envelope {
	s.t.Helper()
	e := s.next()
	for e.Type == bus.ListRequest && typ != bus.ListRequest { // a busy machine: the handshake was repeated
		e = s.next()
	}
	require.Equal(s.t, typ, e.Type, "%+v", e)
	return e
}

// silent asserts that the registry has sent nothing more.
func (s *stranger) silent() {
	s.t.Helper()
	s.say(bus.Envelope{ID: bus.NewID(), Type: bus.ListRequest})
	s.wants(bus.ListResponse)
}

const everything = bus.CanCancel | bus.CanWithdraw | bus.CanGoodbye | bus.CanFlush | bus.CanAdvertise

// syncBuilder collects log output.
type syncBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuilder) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuilder) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *syncBuilder) logger() *slog.Logger { return slog.New(slog.NewTextHandler(s, nil)) }
