// Quickstart: two registries in one process, a typed command from one to the
// other, and an event back.
//
//	go run ./examples/quickstart
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
)

type numbers struct {
	A int `json:"a"`
	B int `json:"b"`
}

func main() {
	ctx := context.Background()
	add := commands.Define[numbers, int]("math.add", "Add two integers")
	added := events.Define[int]("math.added")

	app := must(commands.NewRegistry(commands.Config{ID: "app"}))
	worker := must(commands.NewRegistry(commands.Config{ID: "worker", RouterChannel: "app"}))
	defer app.Close()
	defer worker.Close()

	// A pair joins them. Over a broker only these lines would differ.
	toWorker, toApp := pairing.InMemory("worker", "app")
	must(app.RegisterChannel(ctx, toWorker))
	<-must(worker.RegisterChannel(ctx, toApp)).Ready()

	// The worker executes the command, and emits the sum as an event.
	check(commands.Register(ctx, worker, add, func(ctx context.Context, n numbers) (int, error) {
		return n.A + n.B, events.Emit(ctx, worker.Events(), added, n.A+n.B)
	}))

	// The app listens, and calls the command, wherever it is served.
	must(events.Listen(app.Events(), added, func(_ context.Context, sum int) { fmt.Println("event:", sum) }))
	sum := must(commands.Execute(ctx, app, add, numbers{A: 7, B: 11}))
	check(app.Shutdown(ctx)) // waits for the listener
	fmt.Println("result:", sum)
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
