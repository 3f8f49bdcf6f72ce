package chaostest_test

import (
	"context"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/pairing/chaostest"
)

// The same seed does the same each time.
func Example() {
	ctx := context.Background()
	net := chaostest.Wrap(memory.New(memory.Options{}), chaostest.Options{
		Seed: 7, Drop: 0.1, Duplicate: 0.2, Reorder: 0.2, MaxDelay: time.Minute,
	})
	defer func() { _ = net.Close() }()

	in, _ := net.Subscribe(ctx, "orders")
	for i := range 9 {
		_ = net.Publish("orders", message.NewMessage(fmt.Sprint(i+1), nil))
	}
	_ = net.Flush(ctx) // nothing is held any more
	var order []string
	for range net.Stats().Delivered {
		m := <-in
		order = append(order, m.UUID)
		m.Ack()
	}
	fmt.Println(order)
	s := net.Stats()
	fmt.Println(s.Dropped, "dropped,", s.Copied, "copied,", s.Reordered, "reordered")
	// Output:
	// [1 2 3 3 4 7 8 9 6]
	// 1 dropped, 1 copied, 1 reordered
}

// A line that is cut: what is sent is lost, here in one direction.
func ExamplePublisher_Cut() {
	ctx := context.Background()
	net := chaostest.Wrap(memory.New(memory.Options{}), chaostest.Options{})
	defer func() { _ = net.Close() }()

	in, _ := net.Subscribe(ctx, "to worker")
	net.Cut(func(topic string) bool { return topic == "to worker" })
	_ = net.Publish("to worker", message.NewMessage("lost", nil))
	net.Heal()
	_ = net.Publish("to worker", message.NewMessage("arrives", nil))

	m := <-in
	fmt.Println(m.UUID, net.Stats().Lost)
	m.Ack()
	// Output: arrives 1
}
