package events_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/events"
)

type User struct {
	Name string `json:"name"`
}

var UserCreated = events.Define[User]("user.created")

func Example() {
	ctx := context.Background()
	b := bus.New(bus.Options{})
	defer b.Close()
	hub := events.NewHub(b) // a commands.Registry has one
	defer hub.Close()

	_, err := events.Listen(hub, UserCreated, func(_ context.Context, u User) { fmt.Println("welcome,", u.Name) })
	if err != nil {
		panic(err)
	}
	_ = events.Emit(ctx, hub, UserCreated, User{Name: "Ada"})
	_ = hub.Flush(ctx) // until the listener has handled it
	// Output: welcome, Ada
}

func ExampleHub_ListenRaw() {
	ctx := context.Background()
	b := bus.New(bus.Options{})
	defer b.Close()
	hub := events.NewHub(b)
	defer hub.Close()

	_, _ = hub.ListenRaw("user.>", func(_ context.Context, id string, payload json.RawMessage) {
		fmt.Println(id, string(payload))
	})
	_ = hub.EmitRaw(ctx, "user.created", json.RawMessage(`{"name":"Ada"}`))
	_ = hub.EmitRaw(ctx, "order.created", nil)
	_ = hub.EmitRaw(ctx, "user.address.changed", nil)
	_ = hub.Flush(ctx)
	// Output:
	// user.created {"name":"Ada"}
	// user.address.changed
}

func ExampleListenOptions_group() {
	ctx := context.Background()
	b := bus.New(bus.Options{})
	defer b.Close()
	hub := events.NewHub(b)
	defer hub.Close()

	for _, clerk := range []string{"Ada", "Bob"} {
		_, _ = events.Listen(hub, UserCreated, func(_ context.Context, u User) {
			fmt.Println(clerk, "welcomes", u.Name)
		}, events.ListenOptions{Group: "clerks"})
	}
	for _, name := range []string{"Cid", "Dora", "Eve"} {
		_ = events.Emit(ctx, hub, UserCreated, User{Name: name})
		_ = hub.Flush(ctx)
	}
	// Output:
	// Ada welcomes Cid
	// Bob welcomes Dora
	// Ada welcomes Eve
}
