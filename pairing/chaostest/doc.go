// Package chaostest is a bad network for tests: a Watermill Pub/Sub, or a
// publisher alone, wrapped so that messages are lost, come twice, late or out
// of order, and so that the line can be cut and healed.
//
//	net := chaostest.Wrap(pubsub, chaostest.Options{Seed: 1, Duplicate: 0.1, Reorder: 0.1})
//	defer net.Close()
//	ch := pairing.Join(net, net, "root", "worker")
//
// It acts where messages are published, so several subscribers of a topic all
// see the same. It is not for production.
//
// # Reproducible
//
// What happens to the n-th message of a topic depends on Options and the
// topic's name alone. So where one goroutine publishes on each topic, two runs
// do the same to the same messages, and hand on in the same order as long as no
// clock decides: that is where nothing is delayed, and where messages that are to be
// overtaken are overtaken within Options.MaxDelay. In a bubble of
// testing/synctest the clock decides the same each time too.
package chaostest
