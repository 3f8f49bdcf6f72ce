// Package leat is the root of a module; there is nothing in it but this page.
//
// leat gives [Watermill] typed commands, which have one reply, and typed
// events, which fan out. Both are plain Watermill messages. Each part of a
// program has a registry; channels join registries into a tree, in one process
// or over a broker.
//
//	type numbers struct{ A, B int }
//
//	add := commands.Define[numbers, int]("math.add", "Add two integers")
//
//	app, err := commands.NewRegistry(commands.Config{ID: "app"})
//	worker, err := commands.NewRegistry(commands.Config{ID: "worker", RouterChannel: "app"})
//
//	toWorker, toApp := pairing.InMemory("worker", "app") // the only lines that differ over a broker
//	_, err = app.RegisterChannel(ctx, toWorker)
//	link, err := worker.RegisterChannel(ctx, toApp)
//	err = link.WaitReady(ctx)
//
//	err = commands.Register(ctx, worker, add, func(ctx context.Context, n numbers) (int, error) {
//		return n.A + n.B, nil
//	})
//	sum, err := commands.Execute(ctx, app, add, numbers{7, 11}) // 18, wherever it is served
//
// The packages, from the one that most programs begin with:
//
//   - commands: the registry; define, register and execute commands
//   - events: define, emit and listen to events
//   - pairing: make channels: in memory, over any Watermill Pub/Sub, and fleets of processes
//   - pairing/pairingtest: the conformance kit for channels of your own
//   - bus: links, codecs and the dispatch loop below commands and events
//   - bus/dedupe: dropping of duplicates, as Watermill middleware
//   - bus/memory: an ordered, bounded Pub/Sub in the process
//   - brokers, a module of its own: NATS, JetStream, Redis, RabbitMQ, Postgres and Kafka by URL
//
// README.md has the quick start, docs the guides.
//
// [Watermill]: https://watermill.io
package leat
