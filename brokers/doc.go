// Package brokers opens a message broker from a URL, as a publisher and
// subscribers that keep what leat's registries rely on:
//
//	b, err := brokers.Open(ctx, "nats://127.0.0.1:4222")
//	defer b.Close()
//	link, err := registry.RegisterChannel(ctx, b.Join("root", "worker"))
//
// It is a thin layer over the Watermill adapters for NATS (core and
// JetStream), Redis Streams, RabbitMQ, Postgres and Kafka, and in one process
// over bus/memory and GoChannel. What the adapters leave open is closed here: a
// subscription is live when Subscribe returns, a message that is no message of
// ours is skipped and counted, subscriptions survive a restart of the broker, what is
// stored is trimmed, names are legal and never collide. What each broker
// guarantees, and what it does not, is in [Broker.Guarantees] and docs/brokers.md.
package brokers
