package guides_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
)

// snippet: define-event

var userCreated = events.Define[User]("user.created")

// end snippet

func Example_events() {
	ctx := context.Background()
	registry, err := commands.NewRegistry(commands.Config{ID: "app"})
	check(err)
	defer registry.Close()

	// snippet: listen
	hub := registry.Events()
	listener, err := events.Listen(hub, userCreated, func(ctx context.Context, u User) {
		fmt.Println("welcome,", u.Name)
	})
	// end snippet
	check(err)
	defer listener.Close()

	// snippet: emit
	err = events.Emit(ctx, hub, userCreated, User{ID: 7, Name: "Ada"})
	// end snippet
	check(err)

	// snippet: flush
	err = hub.Flush(ctx) // local listeners have handled it, and peers have taken it
	// end snippet
	check(err)
	fmt.Printf("%+v\n", listener.Stats())

	// Output:
	// welcome, Ada
	// {Handled:1 Dropped:0 Queued:0}
}

func Example_patterns() {
	ctx := context.Background()
	registry, err := commands.NewRegistry(commands.Config{ID: "app"})
	check(err)
	defer registry.Close()
	hub := registry.Events()

	// snippet: pattern
	audit, err := hub.ListenRaw("user.>", func(_ context.Context, id string, payload json.RawMessage) {
		fmt.Println(id, string(payload))
	}, events.ListenOptions{QueueSize: 100_000, Overflow: events.Block})
	// end snippet
	check(err)
	defer audit.Close()
	check(events.Emit(ctx, hub, userCreated, User{ID: 7, Name: "Ada"}))
	check(hub.Flush(ctx))

	// Output:
	// user.created {"id":7,"name":"Ada"}
}

func Example_groups() {
	ctx := context.Background()
	registry, err := commands.NewRegistry(commands.Config{ID: "mailer"})
	check(err)
	defer registry.Close()
	hub := registry.Events()

	// snippet: group
	send := func(ctx context.Context, u User) { fmt.Println("mail to", u.Name) }
	for range 4 { // four mails at a time, each event once
		_, err = events.Listen(hub, userCreated, send, events.ListenOptions{Group: "mailer"})
		check(err)
	}
	// end snippet
	check(events.Emit(ctx, hub, userCreated, User{ID: 7, Name: "Ada"}))
	check(hub.Flush(ctx))

	// Output:
	// mail to Ada
}
