package guides_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// snippet: define

type User struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

type GetUser struct {
	ID     int  `json:"id"`
	Cached bool `json:"cached,omitempty"` // omitempty: may be left out
}

var getUser = commands.Define[GetUser, User]("user.get", "Returns a user", commands.Options{
	TTL:        2 * time.Second, // default: Config.RequestTTL of the caller, 30 s
	Idempotent: true,            // a fleet may execute it twice
})

// end snippet

func Example_command() {
	ctx := context.Background()
	registry, err := commands.NewRegistry(commands.Config{ID: "users"})
	check(err)
	defer registry.Close()

	// snippet: register
	err = commands.Register(ctx, registry, getUser, func(ctx context.Context, req GetUser) (User, error) {
		if req.ID != 7 {
			return User{}, commands.WithReason(
				commands.Errorf(commands.NotFound, "no user %d", req.ID), "user.unknown", req)
		}
		return User{ID: 7, Name: "Ada"}, nil
	})
	// end snippet
	check(err)

	// snippet: execute
	user, err := commands.Execute(ctx, registry, getUser, GetUser{ID: 7})
	// end snippet
	fmt.Println(user.Name, err)

	// snippet: errors
	_, err = commands.Execute(ctx, registry, getUser, GetUser{ID: 8})
	switch {
	case errors.Is(err, &commands.Error{Reason: "user.unknown"}):
		fmt.Println("the application's own reason:", err)
	case errors.Is(err, commands.ErrTimeout): // it may have run, or may yet run
	case errors.Is(err, commands.ErrChannelDisconnected): // likewise
	}
	// end snippet

	// snippet: raw
	result, err := registry.ExecuteRaw(ctx, "user.get", json.RawMessage(`{"id": 7}`))
	// end snippet
	fmt.Println(string(result), err)

	_, err = registry.ExecuteRaw(ctx, "user.get", json.RawMessage(`{"id": "seven"}`))
	fmt.Println(commands.CodeOf(err))

	// Output:
	// Ada <nil>
	// the application's own reason: no user 8
	// {"id":7,"name":"Ada"} <nil>
	// invalid_request
}

// snippet: service

// Math has a method for each command.
type Math struct{}

type Pair struct{ A, B int }

func (Math) Add(_ context.Context, p Pair) (int, error) { return p.A + p.B, nil }

// end snippet

func Example_service() {
	ctx := context.Background()
	registry, err := commands.NewRegistry(commands.Config{ID: "math"})
	check(err)
	defer registry.Close()

	// snippet: register-service
	err = commands.RegisterService(ctx, registry, "math", Math{}) // registers math.add
	// end snippet
	check(err)
	add := commands.Define[Pair, int]("math.add", "")
	fmt.Println(commands.Execute(ctx, registry, add, Pair{1, 2}))

	// snippet: dynamic
	err = registry.RegisterRaw(ctx, bus.Definition{
		ID:     "echo",
		Schema: &bus.Schema{Request: json.RawMessage(`{"type": "object"}`)}, // requests are validated against it
	}, func(_ context.Context, request json.RawMessage) (json.RawMessage, error) {
		return request, nil
	})
	// end snippet
	check(err)
	result, err := registry.ExecuteRaw(ctx, "echo", json.RawMessage(`{"x":1}`))
	fmt.Println(string(result), err)

	// Output:
	// 3 <nil>
	// {"x":1} <nil>
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
