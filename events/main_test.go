package events_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
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

// newHub returns a hub on a bus of its own: no registry is needed.
func newHub(t testing.TB, o bus.Options) (*events.Hub, *bus.Bus) {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	b := bus.New(o)
	h := events.NewHub(b)
	t.Cleanup(func() {
		require.NoError(t, b.Close())
		h.Close()
	})
	return h, b
}

func join(t testing.TB, a, b *bus.Bus, opts ...pairing.Options) (*bus.Link, *bus.Link) {
	t.Helper()
	toA, toB := pairing.InMemory(a.ID(), b.ID(), opts...)
	la, err := a.Attach(within(t), toB)
	require.NoError(t, err)
	lb, err := b.Attach(within(t), toA)
	require.NoError(t, err)
	await(t, la.Ready())
	await(t, lb.Ready())
	return la, lb
}

// recorder notes what a listener hears.
type recorder struct {
	mu  sync.Mutex
	got []string
	at  map[int]chan struct{}
}

func (r *recorder) hear(_ context.Context, id string, p json.RawMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, id+string(p))
	if c := r.at[len(r.got)]; c != nil {
		close(c)
	}
}

// reached is closed when n events have been heard.
func (r *recorder) reached(n int) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := make(chan struct{})
	if len(r.got) >= n {
		close(c)
		return c
	}
	if r.at == nil {
		r.at = make(map[int]chan struct{})
	}
	r.at[n] = c
	return c
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, r.got...)
}

func record(t testing.TB, h *events.Hub, pattern string, opts ...events.ListenOptions) *recorder {
	t.Helper()
	r := &recorder{}
	_, err := h.ListenRaw(pattern, r.hear, opts...)
	require.NoError(t, err)
	return r
}

func emit(t testing.TB, h *events.Hub, id, payload string) {
	t.Helper()
	var p json.RawMessage
	if payload != "" {
		p = json.RawMessage(payload)
	}
	require.NoError(t, h.EmitRaw(within(t), id, p))
}
