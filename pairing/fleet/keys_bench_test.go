package fleet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/fleet"
)

// keySets are what the benchmarks of keys compare. With two keys a receiver may have to try both.
var keySets = []struct {
	name         string
	ours, theirs [][]byte
}{
	{"none", nil, nil},
	{"keys", [][]byte{aKey("k")}, [][]byte{aKey("k")}},
	{"rotating", [][]byte{aKey("old"), aKey("k")}, [][]byte{aKey("k"), aKey("old")}},
}

func aKey(name string) []byte { return bytes.Repeat([]byte(name), 32)[:32] }

// BenchmarkJoinKeys is a call over a Join on GoChannel, with and without keys.
func BenchmarkJoinKeys(b *testing.B) {
	for _, keys := range keySets {
		b.Run(keys.name, func(b *testing.B) {
			g := goChannel(b)
			root, worker := registry(b, "root", ""), registry(b, "worker", "root")
			_, err := root.RegisterChannel(b.Context(), pairing.Join(g, g, "root", "worker", pairing.JoinOptions{Keys: keys.ours}))
			require.NoError(b, err)
			link, err := worker.RegisterChannel(b.Context(), pairing.Join(g, g, "worker", "root", pairing.JoinOptions{Keys: keys.theirs}))
			require.NoError(b, err)
			<-link.Ready()
			echo(b, worker)
			callers(b, root)
		})
	}
}

// BenchmarkFleetKeys is a call in a fleet over bus/memory, likewise: many callers share bundles, which have one signature each.
func BenchmarkFleetKeys(b *testing.B) {
	for _, keys := range keySets {
		b.Run(keys.name, func(b *testing.B) {
			ps := memory.New(memory.Options{MaxUnacked: 256})
			caller := join(b, ps, "caller", fleet.Options{Keys: keys.ours})
			worker := join(b, ps, "worker", fleet.Options{Keys: keys.theirs})
			echo(b, worker.Registry)
			require.NoError(b, caller.fleet.Await(context.Background(), "echo"))
			callers(b, caller.Registry)
			caller.end(b)
			worker.end(b)
			require.NoError(b, ps.Close())
		})
	}
}

func echo(b *testing.B, r *commands.Registry) {
	b.Helper()
	serve(b, &member{Registry: r}, "echo", func(_ context.Context, req json.RawMessage) (json.RawMessage, error) { return req, nil })
}

// callers measures calls of one caller, and of 64 at once.
func callers(b *testing.B, r *commands.Registry) {
	req := json.RawMessage(`{"a":1,"b":2}`)
	call := func() {
		if _, err := r.ExecuteRaw(context.Background(), "echo", req); err != nil {
			b.Error(err)
		}
	}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			call()
		}
	})
	b.Run("many", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				call()
			}
		})
	})
}
