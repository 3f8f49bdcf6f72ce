package bus_test

import (
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
)

const beat = 2 * time.Second

// tape is a publisher that remembers, and a layer that does.
type tape struct {
	mu      sync.Mutex
	sent    []*message.Message
	got     []bus.Envelope
	unsent  []string
	hang    chan struct{} // not nil: Publish waits until it is closed
	publish func(*message.Message)
}

func (t *tape) Publish(_ string, ms ...*message.Message) error {
	t.mu.Lock()
	hang := t.hang
	t.mu.Unlock()
	if hang != nil {
		<-hang
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range ms {
		t.sent = append(t.sent, m.Copy())
		if t.publish != nil {
			t.publish(m.Copy())
		}
	}
	return nil
}

func (*tape) Close() error { return nil }
func (*tape) Opened()      {}
func (*tape) Closed(error) {}
func (t *tape) Unsent(_ bus.Type, id string, _ error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unsent = append(t.unsent, id)
}

func (t *tape) Receive(d *bus.Delivery) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.got = append(t.got, d.Envelope)
	return d.Envelope.Type != bus.ListRequest
}

// take returns what was sent since the last take, of one type if it is given.
func (t *tape) take(types ...bus.Type) []*message.Message {
	synctest.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	var taken []*message.Message
	for _, m := range t.sent {
		if len(types) == 0 || slices.Contains(types, bus.Type(m.Metadata["leat-type"])) {
			taken = append(taken, m)
		}
	}
	t.sent = nil
	return taken
}

func (t *tape) received(typ bus.Type) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.got {
		if e.Type == typ {
			n++
		}
	}
	return n
}

// presentLink attaches a channel with presence whose messages go to a tape,
// and which is fed by hand.
func presentLink(t *testing.T, heartbeat time.Duration, opts bus.Options) (*bus.Link, *tape) {
	t.Helper()
	tp := new(tape)
	opts.Logger = slog.New(slog.DiscardHandler)
	b := bus.New(opts)
	b.Use(func(*bus.Link) bus.Receiver { return tp })
	l, err := b.Attach(t.Context(), &bus.Channel{ID: "peer", Publisher: tp, Out: "out", Heartbeat: heartbeat})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return l, tp
}

// life plays one session of the peer.
type life struct {
	t        *testing.T
	link     *bus.Link
	session  string
	to       string // the link's session, once known
	features bus.Features
}

func lifeAt(t *testing.T, l *bus.Link, at time.Time, features bus.Features) *life {
	return &life{t: t, link: l, session: strconv.FormatInt(at.UnixMicro(), 36) + "-test", features: features}
}

// say delivers e, with the sessions and extra metadata.
func (f *life) say(e bus.Envelope, extra ...string) {
	f.t.Helper()
	f.deliver(e, extra...)
	synctest.Wait()
}

// deliver does not wait for what comes of it.
func (f *life) deliver(e bus.Envelope, extra ...string) {
	f.t.Helper()
	if e.ID == "" {
		e.ID = bus.NewID()
	}
	m, err := bus.Binary.Marshal(e)
	require.NoError(f.t, err)
	m.Metadata["leat-session"] = f.session
	if f.to != "" && e.Type != bus.ListRequest {
		m.Metadata["leat-peer"] = f.to
	}
	for i := 0; i < len(extra); i += 2 {
		m.Metadata[extra[i]] = extra[i+1]
	}
	require.NoError(f.t, f.link.Deliver(m))
}

func (f *life) hello() {
	f.t.Helper()
	f.say(bus.Envelope{Type: bus.ListRequest, Features: f.features})
}

// meets does the whole handshake.
func (f *life) meets(tp *tape) {
	f.t.Helper()
	hello := tp.take(bus.ListRequest)
	require.NotEmpty(f.t, hello, "the link says hello")
	f.to = hello[0].Metadata["leat-session"]
	require.NotEmpty(f.t, f.to)
	f.say(bus.Envelope{Type: bus.ListResponse, Thread: hello[0].Metadata["leat-id"], Body: []byte("[]"), Features: f.features})
	<-f.link.Ready()
}

const everything = bus.CanCancel | bus.CanWithdraw | bus.CanGoodbye | bus.CanFlush | bus.CanAdvertise

func event(id string) bus.Envelope { return bus.Envelope{ID: id, Type: bus.Event, Name: "e"} }
