package guides_test

import (
	"context"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/leatbus/leat/commands"
)

func Example_middleware() {
	ctx := context.Background()
	// snippet: middleware
	registry, err := commands.NewRegistry(commands.Config{
		ID: "users",
		Middleware: []message.HandlerMiddleware{ // around each run of a handler or listener; the first is outermost
			middleware.CorrelationID,
			middleware.Timeout(5 * time.Second),
			logged,
		},
	})
	// end snippet
	check(err)
	defer registry.Close()
	check(commands.Register(ctx, registry, getUser, ada))
	_, err = commands.Execute(ctx, registry, getUser, GetUser{ID: 7})
	fmt.Println(err)

	// Output:
	// user.get <nil>
	// <nil>
}

// snippet: own-middleware

// logged writes a line for each run.
func logged(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		replies, err := next(m)
		fmt.Println(m.Metadata.Get("leat-name"), err)
		return replies, err
	}
}

// end snippet
