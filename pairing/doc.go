// Package pairing makes channels: two halves in one process, one half over
// any Watermill publisher and subscriber, or a whole fleet of processes as one.
//
//	toWorker, toRoot := pairing.InMemory("worker", "root")
//	root.RegisterChannel(ctx, toWorker)
//	worker.RegisterChannel(ctx, toRoot)
//
// [Join] makes a channel to another process, [Connect] keeps it attached while
// processes come and go, and [Check] finds out whether a Pub/Sub is fit for that.
//
// Many processes that share a broker are a [Fleet]: each registry sees the others
// through one channel, and a call goes to whichever of them serves the command. An event
// goes to all of them; of the listeners of one group, to those of one process.
//
// A program moves from one process to several by changing how its channels
// are made, and nothing else. Package pairingtest checks a way to make
// channels against every rule that registries rely on; package chaostest puts
// a bad network in between.
package pairing
