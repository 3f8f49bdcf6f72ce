package pairingtest

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/commands"
)

// stuck is a handler that runs until its ctx ends, or until it is released.
type stuck struct {
	started chan context.Context // one for each run
	ended   chan error           // its ctx's error, one for each run; nil when released
	release chan struct{}        // close it to let them return
	once    sync.Once
}

// stuck registers a command that does not return by itself.
func (k *kit) stuck(r *commands.Registry, id string) *stuck {
	k.t.Helper()
	s := &stuck{started: make(chan context.Context, 64), ended: make(chan error, 64), release: make(chan struct{})}
	k.raw(r, id, func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		s.started <- ctx
		select {
		case <-ctx.Done():
			s.ended <- ctx.Err()
			return nil, ctx.Err()
		case <-s.release:
			s.ended <- nil
			return json.RawMessage(`"released"`), nil
		}
	})
	k.t.Cleanup(s.let)
	return s
}

func (s *stuck) let() { s.once.Do(func() { close(s.release) }) }

// answer is how a call ended.
type answer struct {
	body json.RawMessage
	err  error
}

// call calls in the background.
func (k *kit) call(ctx context.Context, r *commands.Registry, id, req string) <-chan answer {
	c := make(chan answer, 1)
	go func() {
		body, err := r.ExecuteRaw(ctx, id, encoded(req))
		c <- answer{body, err}
	}()
	return c
}

// ok calls and returns the result, which has to be one.
func (k *kit) ok(r *commands.Registry, id, req string) string {
	k.t.Helper()
	body, err := r.ExecuteRaw(k.ctx, id, encoded(req))
	require.NoErrorf(k.t, err, "%s calls %s", r.ID(), id)
	return string(body)
}

// fails calls and returns the error, which has to be of that kind.
func (k *kit) fails(r *commands.Registry, id string, kind error) error {
	k.t.Helper()
	_, err := r.ExecuteRaw(k.ctx, id, nil)
	require.ErrorIsf(k.t, err, kind, "%s calls %s", r.ID(), id)
	require.NoErrorf(k.t, k.ctx.Err(), "%s calls %s: the call did not end by itself", r.ID(), id)
	return err
}

// encoded is the JSON text as a body; an empty one is absent.
func encoded(s string) json.RawMessage {
	if s == "" {
		return nil
	}
	return json.RawMessage(s)
}

// gauge counts what runs at once.
type gauge struct{ now, most atomic.Int64 }

func (g *gauge) enter() {
	n := g.now.Add(1)
	for {
		most := g.most.Load()
		if n <= most || g.most.CompareAndSwap(most, n) {
			return
		}
	}
}

func (g *gauge) leave() { g.now.Add(-1) }

// logbook is a logger that remembers what was said.
type logbook struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (b *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, string(p))
	return len(p), nil
}

// says reports whether one line has all the words.
func (b *logbook) says(words ...string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
next:
	for _, line := range b.lines {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		return true
	}
	return false
}

var silentLogger = slog.New(slog.DiscardHandler)
