package prompt_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/examples/prompt"
)

// The lines come from a string here; by default they come from the program's own console.
func Example() {
	ctx := context.Background()
	app, err := commands.NewRegistry(commands.Config{ID: "app"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer app.Close()
	hello := commands.Define[string, string]("greet.hello", "Say hello")
	if err := commands.Register(ctx, app, hello, func(_ context.Context, name string) (string, error) {
		return "Hello, " + name + "!", nil
	}); err != nil {
		fmt.Println(err)
		return
	}

	p := prompt.New(prompt.Options{In: strings.NewReader("list\ncall greet.hello Ada\n")})
	if err := p.Run(ctx, app); err != nil {
		fmt.Println(err)
	}
	// Output:
	// #  ID           DESCRIPTION  REQUEST  RESPONSE  WHERE
	// 1  greet.hello  Say hello    string   string    app
	// "Hello, Ada!"
}
