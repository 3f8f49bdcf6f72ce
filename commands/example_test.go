package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

type Sum struct {
	A int `json:"a"`
	B int `json:"b"`
}

var Add = commands.Define[Sum, int]("math.add", "Add two integers")

func Example() {
	ctx := context.Background()
	r, err := commands.NewRegistry(commands.Config{ID: "root"})
	if err != nil {
		panic(err)
	}
	defer r.Close()
	err = commands.Register(ctx, r, Add, func(_ context.Context, s Sum) (int, error) { return s.A + s.B, nil })
	if err != nil {
		panic(err)
	}
	n, err := commands.Execute(ctx, r, Add, Sum{7, 11})
	fmt.Println(n, err)
	// Output: 18 <nil>
}

func Example_tree() {
	ctx := context.Background()
	root, _ := commands.NewRegistry(commands.Config{ID: "root"})
	worker, _ := commands.NewRegistry(commands.Config{ID: "worker", RouterChannel: "root"})
	defer root.Close()
	defer worker.Close()

	toWorker, toRoot := pairing.InMemory("worker", "root")
	link, _ := root.RegisterChannel(ctx, toWorker)
	worker.RegisterChannel(ctx, toRoot)
	<-link.Ready()

	// Registered at the worker, and with its router, the root; callable from there.
	_ = commands.Register(ctx, worker, Add, func(_ context.Context, s Sum) (int, error) { return s.A + s.B, nil })
	n, err := commands.Execute(ctx, root, Add, Sum{7, 11})
	fmt.Println(n, err)
	// Output: 18 <nil>
}

func ExampleErrorf() {
	ctx := context.Background()
	r, _ := commands.NewRegistry(commands.Config{})
	defer r.Close()
	find := commands.Define[string, string]("user.find", "")
	_ = commands.Register(ctx, r, find, func(_ context.Context, name string) (string, error) {
		return "", commands.Errorf(commands.NotFound, "no user %q", name)
	})
	_, err := commands.Execute(ctx, r, find, "Ada")
	fmt.Println(errors.Is(err, commands.ErrNotFound), err)
	// Output: true no user "Ada"
}

func ExampleRegistry_RegisterRaw() {
	ctx := context.Background()
	r, _ := commands.NewRegistry(commands.Config{})
	defer r.Close()
	def := bus.Definition{ID: "echo", Schema: &bus.Schema{Request: json.RawMessage(`{"type":"string","maxLength":5}`)}}
	_ = r.RegisterRaw(ctx, def, func(_ context.Context, req json.RawMessage) (json.RawMessage, error) { return req, nil })
	res, err := r.ExecuteRaw(ctx, "echo", json.RawMessage(`"hello"`))
	fmt.Println(string(res), err)
	_, err = r.ExecuteRaw(ctx, "echo", json.RawMessage(`7`))
	fmt.Println(errors.Is(err, commands.ErrInvalidRequest))
	// Output:
	// "hello" <nil>
	// true
}

type Greeter struct{ Greeting string }

func (g Greeter) Hello(_ context.Context, name string) (string, error) {
	return g.Greeting + ", " + name, nil
}

func ExampleRegisterService() {
	ctx := context.Background()
	r, _ := commands.NewRegistry(commands.Config{})
	defer r.Close()
	if err := commands.RegisterService(ctx, r, "greet", Greeter{"Hello"}); err != nil {
		panic(err)
	}
	res, _ := r.ExecuteRaw(ctx, "greet.hello", json.RawMessage(`"Ada"`))
	fmt.Println(string(res))
	// Output: "Hello, Ada"
}
