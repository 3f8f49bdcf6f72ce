// Package memory is a Watermill Pub/Sub within one process: ordered, bounded
// and cheap.
//
//	ps := memory.New(memory.Options{})
//	defer ps.Close()
//	msgs, err := ps.Subscribe(ctx, "orders")
//	...
//	err = ps.Publish("orders", message.NewMessage(watermill.NewUUID(), payload))
//	...
//	for msg := range msgs {
//		handle(msg)
//		msg.Ack()
//	}
//
// Every subscription has a queue of its own, of at most Options.QueueSize
// messages, and at most Options.MaxUnacked messages out. Messages come in the
// order of Publish, the same for all subscribers of a topic. Publish blocks or
// fails at a full queue. A nacked message comes again after a backoff, a
// bounded number of times, and goes to a dead-letter topic then.
//
// # How it stays cheap
//
// A subscription has one goroutine, and a subscriber that keeps up never wakes
// it: Publish puts a message straight into the output channel when there is
// room, and looks for acks itself when there seems to be none. The goroutine
// blocks on an ack only if messages wait for it. Otherwise it looks at what is
// out after 1 ms, then ever more rarely, down to every 16 ms; by then it also
// blocks on one message that is out, the oldest as a rule. So a nack is noticed
// within 1 ms if its message is the only one out, and within 16 ms otherwise;
// the backoff counts from there.
//
// An ack that is forgotten keeps its place among Options.MaxUnacked until the
// subscription ends. At 1 the subscription stands still then.
package memory
