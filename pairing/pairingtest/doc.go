// Package pairingtest is the conformance kit for ways to make channels. A
// transport that passes it keeps every promise that leat makes about calls,
// registration, events, life cycle and middleware:
//
//	func TestConformance(t *testing.T) {
//		pairingtest.Run(t, func(_ testing.TB, a, b string) (chA, chB *bus.Channel) {
//			return pairing.InMemory(a, b)
//		}, pairingtest.Features{HoldsBeforeAttach: true, Ordered: true, Local: true})
//	}
//
// [RunFleet] does the same for a broker that is to carry a fleet.Fleet.
//
// Subtests are named by rule and statement, so that a failure says which
// promise is broken: rule02_every_remote_call_ends/timeout_on_an_idle_registry.
// The rules are those of docs/internals/rules.md.
package pairingtest
