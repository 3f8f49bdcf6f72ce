// Package bus moves protocol messages between peers as plain Watermill
// messages: it owns the envelope and its codecs, channels and the links that
// they become, the dispatch loop with its middleware, and dedupe. It does not
// know what a command or an event means; packages commands and events are
// layers on top of it.
//
// Most programs make a commands.Registry, which has a bus inside, and meet
// this package in channels, middleware and statistics:
//
//	ch := &bus.Channel{ID: "worker", Publisher: pub, Out: "to.worker", Subscriber: sub, In: "to.root"}
//	link, err := registry.RegisterChannel(ctx, ch)
//	if err != nil {
//		return err
//	}
//	err = link.WaitReady(ctx) // the peer has answered
//
// What the messages are is laid down in the protocol: seven types, each with
// one JSON form. See [JSON] and [Binary] for how they travel.
package bus
