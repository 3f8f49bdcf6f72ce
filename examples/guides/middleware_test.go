package guides_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/leatbus/leat/bus"
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

func Example_interceptors() {
	ctx := context.Background()
	registry, err := commands.NewRegistry(commands.Config{Interceptors: []bus.Interceptor{retried, token}})
	check(err)
	defer registry.Close()
	away := 2
	check(commands.Register(ctx, registry, getUser, func(ctx context.Context, u GetUser) (User, error) {
		fmt.Println(bus.MetadataFrom(ctx)["token"])
		if away--; away >= 0 {
			return User{}, commands.Errorf(commands.ChannelDisconnected, "the database is away")
		}
		return ada(ctx, u)
	}))
	_, err = commands.Execute(ctx, registry, getUser, GetUser{ID: 7})
	fmt.Println(err)

	// Output:
	// secret
	// secret
	// secret
	// <nil>
}

// snippet: interceptors

// token puts the caller's token on what is sent. A handler reads it with bus.MetadataFrom.
func token(ctx context.Context, _ bus.Outgoing, next func(context.Context) error) error {
	return next(bus.WithMetadata(ctx, message.Metadata{"token": "secret"}))
}

// retried tries calls that only read again when their server has gone, twice at most.
func retried(ctx context.Context, out bus.Outgoing, next func(context.Context) error) error {
	err := next(ctx)
	for try := 1; try < 3 && out.Name == "user.get" && errors.Is(err, commands.ErrChannelDisconnected); try++ {
		err = next(ctx)
	}
	return err
}

// end snippet
