package pairing_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

// A worker stays connected to its root, also when that restarts.
func ExampleConnect() {
	ctx := context.Background()
	pubsub := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
	defer func() { _ = pubsub.Close() }()
	greet := commands.Define[string, string]("greet", "Says hello")

	worker, _ := commands.NewRegistry(commands.Config{ID: "worker", RouterChannel: "root"})
	defer func() { _ = worker.Close() }()
	_ = commands.Register(ctx, worker, greet, func(_ context.Context, name string) (string, error) {
		return "hello, " + name, nil
	})
	toRoot := pairing.Connect(ctx, worker, func() (*bus.Channel, error) {
		return pairing.Join(pubsub, pubsub, "worker", "root"), nil
	})
	defer func() { _ = toRoot.Close() }()

	for _, life := range []string{"first", "second"} {
		root, _ := commands.NewRegistry(commands.Config{ID: "root"})
		toWorker := pairing.Connect(ctx, root, func() (*bus.Channel, error) {
			return pairing.Join(pubsub, pubsub, "root", "worker"), nil
		})
		_ = toWorker.Ready(ctx)
		fmt.Println(commands.Execute(ctx, root, greet, "root, in your "+life+" life"))
		_ = root.Close()
	}
	// Output:
	// hello, root, in your first life <nil>
	// hello, root, in your second life <nil>
}

// GoChannel as it comes has no order.
func ExampleCheck() {
	ordered := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
	defer func() { _ = ordered.Close() }()
	fmt.Println(pairing.Check(context.Background(), ordered, ordered))

	asItComes := gochannel.NewGoChannel(gochannel.Config{}, watermill.NopLogger{})
	defer func() { _ = asItComes.Close() }()
	err := pairing.Check(context.Background(), asItComes, asItComes, pairing.CheckOptions{Messages: 10_000})
	fmt.Println(errors.Is(err, pairing.PromiseOrder), errors.Is(err, pairing.PromiseDelivery))
	// Output:
	// <nil>
	// true false
}
