package fleet_test

import (
	"context"
	"testing"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/pairing/fleet"
)

// BenchmarkFleetCall is a call from one process to another over bus/memory, by one caller and by many.
func BenchmarkFleetCall(b *testing.B) {
	ps := memory.New(memory.Options{MaxUnacked: 256})
	caller, worker := join(b, ps, "caller", fleet.Options{}), join(b, ps, "worker", fleet.Options{})
	echo(b, worker.Registry)
	if err := caller.fleet.Await(context.Background(), "echo"); err != nil {
		b.Fatal(err)
	}
	callers(b, caller.Registry)
	caller.end(b)
	worker.end(b)
	if err := ps.Close(); err != nil {
		b.Fatal(err)
	}
}
