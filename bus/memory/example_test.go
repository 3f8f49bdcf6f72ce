package memory_test

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus/memory"
)

func Example() {
	ps := memory.New(memory.Options{})
	defer ps.Close()

	msgs, err := ps.Subscribe(context.Background(), "orders")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, order := range []string{"tea", "cake"} {
		if err := ps.Publish("orders", message.NewMessage(order, []byte("one "+order))); err != nil {
			fmt.Println(err)
		}
	}
	for range 2 {
		msg := <-msgs
		fmt.Println(string(msg.Payload))
		msg.Ack()
	}
	// Output:
	// one tea
	// one cake
}

// A message that nobody can handle ends up on the dead-letter topic.
func Example_deadLetter() {
	ps := memory.New(memory.Options{MaxRedeliveries: -1, DeadLetterTopic: "dead"})
	defer ps.Close()
	msgs, _ := ps.Subscribe(context.Background(), "orders")
	letters, _ := ps.Subscribe(context.Background(), "dead")

	_ = ps.Publish("orders", message.NewMessage("1", []byte("one unicorn")))
	(<-msgs).Nack()

	letter := <-letters
	fmt.Printf("%s, %s %s time on %s\n", letter.Payload,
		letter.Metadata.Get(memory.MetadataDeadLetterReason),
		letter.Metadata.Get(memory.MetadataDeadLetterCount),
		letter.Metadata.Get(memory.MetadataDeadLetterTopic))
	letter.Ack()
	// Output:
	// one unicorn, nacked 1 time on orders
}

// Drain before Close, and nothing is lost.
func ExamplePubSub_Drain() {
	ps := memory.New(memory.Options{})
	msgs, _ := ps.Subscribe(context.Background(), "orders")
	go func() {
		for msg := range msgs {
			msg.Ack()
		}
	}()
	for range 100 {
		_ = ps.Publish("orders", message.NewMessage("", nil))
	}
	fmt.Println(ps.Drain(context.Background()), ps.Stats().Acked)
	_ = ps.Close()
	// Output:
	// <nil> 100
}
