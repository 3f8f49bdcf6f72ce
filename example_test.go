package leat_test

import (
	"context"
	"fmt"
	"log"

	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
)

// Two registries in one process: a command from one to the other, and an event back.
func Example() {
	ctx := context.Background()
	type numbers struct{ A, B int }
	add := commands.Define[numbers, int]("math.add", "Add two integers")
	added := events.Define[int]("math.added")

	app, err := commands.NewRegistry(commands.Config{ID: "app"})
	if err != nil {
		log.Fatal(err)
	}
	defer app.Close()
	worker, err := commands.NewRegistry(commands.Config{ID: "worker", RouterChannel: "app"})
	if err != nil {
		log.Fatal(err)
	}
	defer worker.Close()

	toWorker, toApp := pairing.InMemory("worker", "app")
	if _, err := app.RegisterChannel(ctx, toWorker); err != nil {
		log.Fatal(err)
	}
	link, err := worker.RegisterChannel(ctx, toApp)
	if err != nil {
		log.Fatal(err)
	}
	<-link.Ready()

	err = commands.Register(ctx, worker, add, func(ctx context.Context, n numbers) (int, error) {
		return n.A + n.B, events.Emit(ctx, worker.Events(), added, n.A+n.B)
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = events.Listen(app.Events(), added, func(_ context.Context, sum int) { fmt.Println("event:", sum) })
	if err != nil {
		log.Fatal(err)
	}
	sum, err := commands.Execute(ctx, app, add, numbers{7, 11})
	if err != nil {
		log.Fatal(err)
	}
	if err := app.Shutdown(ctx); err != nil { // waits for the listener
		log.Fatal(err)
	}
	fmt.Println("result:", sum)
	// Output:
	// event: 18
	// result: 18
}
