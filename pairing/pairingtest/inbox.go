package pairingtest

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/commands"
)

// inbox is a listener that writes down what it gets.
type inbox struct {
	mu   sync.Mutex
	got  []string      // guarded by mu
	full chan struct{} // closed when want have come
	want int
}

// inbox listens for everything that matches, until want events have come; what
// comes after is written down too.
func (k *kit) inbox(r *commands.Registry, pattern string, want int) *inbox {
	k.t.Helper()
	b := &inbox{full: make(chan struct{}), want: want}
	_, err := r.Events().ListenRaw(pattern, func(_ context.Context, _ string, payload json.RawMessage) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.got = append(b.got, string(payload)); len(b.got) == want {
			close(b.full)
		}
	})
	require.NoError(k.t, err)
	return b
}

func (b *inbox) list() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.got...)
}

func (k *kit) emit(r *commands.Registry, id, payload string) {
	k.t.Helper()
	require.NoError(k.t, r.Events().EmitRaw(k.ctx, id, encoded(payload)))
}

// still returns when everything has arrived wherever it goes, as many hops
// away as there are registries.
func (k *kit) still(rs ...*commands.Registry) {
	k.t.Helper()
	for range rs {
		for _, r := range rs {
			k.flush(r)
		}
	}
}
