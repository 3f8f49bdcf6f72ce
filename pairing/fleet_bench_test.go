package pairing_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/pairing"
)

// BenchmarkFleetCall is a call from one process to another over bus/memory, by one caller and by many.
func BenchmarkFleetCall(b *testing.B) {
	ps := memory.New(memory.Options{MaxUnacked: 256})
	caller, worker := join(b, ps, "caller", pairing.FleetOptions{}), join(b, ps, "worker", pairing.FleetOptions{})
	serve(b, worker, "echo", func(_ context.Context, req json.RawMessage) (json.RawMessage, error) { return req, nil })
	if err := caller.fleet.Await(context.Background(), "echo"); err != nil {
		b.Fatal(err)
	}
	call := func() {
		if _, err := caller.ExecuteRaw(context.Background(), "echo", json.RawMessage("1")); err != nil {
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
	caller.end(b)
	worker.end(b)
	if err := ps.Close(); err != nil {
		b.Fatal(err)
	}
}
