package pairing_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

func ExampleInMemory() {
	ctx := context.Background()
	root, _ := commands.NewRegistry(commands.Config{ID: "root"})
	worker, _ := commands.NewRegistry(commands.Config{ID: "worker", RouterChannel: "root"})
	defer root.Close()
	defer worker.Close()

	// The first half has the ID "worker": it belongs to the side that calls
	// its peer so.
	toWorker, toRoot := pairing.InMemory("worker", "root")
	link, err := root.RegisterChannel(ctx, toWorker)
	if err != nil {
		panic(err)
	}
	if _, err := worker.RegisterChannel(ctx, toRoot); err != nil {
		panic(err)
	}
	<-link.Ready()

	// Events go both ways.
	_, _ = root.Events().ListenRaw("job.*", func(_ context.Context, id string, _ json.RawMessage) { fmt.Println("heard", id) })
	_ = worker.Events().EmitRaw(ctx, "job.done", nil)
	_ = worker.Events().Flush(ctx) // root has it in its listeners' queues
	_ = root.Events().Flush(ctx)   // root's listeners have handled it
	// Output: heard job.done
}
