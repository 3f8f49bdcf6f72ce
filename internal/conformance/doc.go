// Package conformance runs the protocol's test vectors: messages with their
// canonical JSON, and scripts of what a registry has to send and to do when
// mock peers send it messages. Vectors are data, so that implementations in
// other languages can run the same ones.
//
//	suite, err := conformance.Load("testdata")        // testdata/encoding, behavior and schemas
//	for _, v := range suite {
//		err := v.Run(ctx, conformance.OverJSON())      // nil: the vector passes
//	}
//
// A vector is taken literally: a direction, trigger, matcher or member that
// the package does not know makes it fail, since a step that is skipped proves
// nothing.
//
// # Scripts
//
// Each script gets a registry of its own, with its local commands and
// listeners, to which the mock peers are then attached. Two things that a
// registry does on its own accord are not part of a script: the
// list.commands.request of the handshake, which the mocks answer with an empty
// list, and the registration of the set-up's commands with the router, which a
// script may look at, or not.
//
// After each step the runner lets the registry come to rest, without sleeping:
// every mock peer asks for the list of commands and waits for the answer, which
// is behind all that was received and sent on its channel before; replies that
// local commands owe are waited for; and all that again until nothing new
// comes. So steps happen in the order of the script, on all channels, and what
// did not come until then is not coming.
//
// # Matchers
//
// Expected objects match as subsets, arrays element by element, numbers by
// their exact decimal value. {"$match": "uuid"} and {"$match": "any-string"}
// stand for such values, {"$capture": "x"} takes whatever is there and
// {"$ref": "x"} stands for it from then on, in messages and arguments too.
// {"$unordered": […]} is an array in any order.
//
// This project's own vectors use three additions: {"$match": "absent"} stands
// for a member that is not there; a message that is a string is delivered as
// the bytes of its text, so that it can be no JSON at all; and an encoding
// vector with "invalid": true and no message has JSON that must be refused.
package conformance
