// Package peers holds ways to call a function in the same process, each behind one small type, so that they can be
// measured side by side at one piece of work: math.add.
//
//	p, err := peers.Channels(peers.Setup{})
//	...
//	defer p.Close()
//	err = p.Call(ctx) // adds, and checks the sum
//
// To add a peer, write a file with a type that has Call and Close, and a line in All. Whatever crosses a boundary as
// bytes is encoded and decoded on both sides; what passes Go values says so in its About.
package peers
