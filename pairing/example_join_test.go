package pairing_test

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

// Any Watermill Pub/Sub joins two registries. A broker's publisher and
// subscriber take the place of the GoChannel.
func ExampleJoin() {
	ctx := context.Background()
	pubsub := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
	defer func() { _ = pubsub.Close() }()

	root, _ := commands.NewRegistry(commands.Config{ID: "root"})
	defer func() { _ = root.Close() }()
	worker, _ := commands.NewRegistry(commands.Config{ID: "worker", RouterChannel: "root"})
	defer func() { _ = worker.Close() }()

	_, _ = root.RegisterChannel(ctx, pairing.Join(pubsub, pubsub, "root", "worker"))
	link, err := worker.RegisterChannel(ctx, pairing.Join(pubsub, pubsub, "worker", "root"))
	if err != nil {
		fmt.Println(err)
		return
	}
	<-link.Ready()

	greet := commands.Define[string, string]("greet", "Says hello")
	_ = commands.Register(ctx, worker, greet, func(_ context.Context, name string) (string, error) {
		return "hello, " + name, nil
	})
	fmt.Println(commands.Execute(ctx, root, greet, "root"))
	// Output: hello, root <nil>
}
