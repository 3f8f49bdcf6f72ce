package fleet_test

import (
	"context"
	"fmt"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

// Two workers and a caller. Here they share a Pub/Sub in memory; in processes of their own, each would have a
// publisher and a subscriber of one broker.
func ExampleNew() {
	ctx := context.Background()
	broker := memory.New(memory.Options{})
	defer func() { _ = broker.Close() }()
	greet := commands.Define[string, string]("greet", "Says hello", commands.Options{Idempotent: true})

	process := func(id string) (*commands.Registry, *fleet.Fleet) {
		registry, _ := commands.NewRegistry(commands.Config{ID: id})
		fleet, err := fleet.New(ctx, broker, broker, fleet.Options{Namespace: "example", ID: id})
		if err != nil {
			panic(err)
		}
		if _, err := registry.RegisterChannel(ctx, fleet.Channel()); err != nil {
			panic(err)
		}
		return registry, fleet
	}
	for _, id := range []string{"worker-1", "worker-2"} {
		worker, _ := process(id)
		defer func() { _ = worker.Close() }()
		_ = commands.Register(ctx, worker, greet, func(_ context.Context, name string) (string, error) {
			return "hello, " + name, nil
		})
	}

	caller, fleet := process("caller")
	defer func() { _ = caller.Close() }()
	_ = fleet.Await(ctx, greet.ID())
	fmt.Println(commands.Execute(ctx, caller, greet, "fleet"))
	// Output: hello, fleet <nil>
}
