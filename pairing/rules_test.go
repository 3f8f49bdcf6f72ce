package pairing_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/pairingtest"
)

// The conformance kit, one test a rule, over each kind of channel that this package makes.

func TestRule01OrderOfResolution(t *testing.T)                         { keepsRule(t, 1) }
func TestRule02EveryCallEnds(t *testing.T)                             { keepsRule(t, 2) }
func TestRule03CancellationAndDeadlinesTravel(t *testing.T)            { keepsRule(t, 3) }
func TestRule04NothingWaitsForWhatItDoesNotNeed(t *testing.T)          { keepsRule(t, 4) }
func TestRule05ErrorsCrossAsCodes(t *testing.T)                        { keepsRule(t, 5) }
func TestRule06RequestIDsAreOpaque(t *testing.T)                       { keepsRule(t, 6) }
func TestRule07AReplyCountsOnlyFromWhereTheRequestWent(t *testing.T)   { keepsRule(t, 7) }
func TestRule08LoopsEnd(t *testing.T)                                  { keepsRule(t, 8) }
func TestRule09ADuplicateIsRefused(t *testing.T)                       { keepsRule(t, 9) }
func TestRule10VisibleAfterTheAcknowledgement(t *testing.T)            { keepsRule(t, 10) }
func TestRule11ALinkThatClosesWithdrawsItsCommands(t *testing.T)       { keepsRule(t, 11) }
func TestRule12AListReplacesNothingOfOthers(t *testing.T)              { keepsRule(t, 12) }
func TestRule13PrivateStaysPrivate(t *testing.T)                       { keepsRule(t, 13) }
func TestRule14EachListenerHearsEachEventOnce(t *testing.T)            { keepsRule(t, 14) }
func TestRule15EventsKeepTheirOrder(t *testing.T)                      { keepsRule(t, 15) }
func TestRule16AListenerHarmsOnlyItself(t *testing.T)                  { keepsRule(t, 16) }
func TestRule17AttachCloseAndShutDownAtAnyTime(t *testing.T)           { keepsRule(t, 17) }
func TestRule18ShutdownDrains(t *testing.T)                            { keepsRule(t, 18) }
func TestRule19ClosingOneHalfEndsTheOtherInOrder(t *testing.T)         { keepsRule(t, 19) }
func TestRule20BadInputIsCounted(t *testing.T)                         { keepsRule(t, 20) }
func TestRule21TwoPlacesForMiddleware(t *testing.T)                    { keepsRule(t, 21) }
func TestRule26PeersAreTrustedAsFarAsTheirChannelReaches(t *testing.T) { keepsRule(t, 26) }

// wire is a kind of channel.
type wire struct {
	name string
	make func(*testing.T) (pairingtest.Factory, pairingtest.Features)
}

func wires() []wire {
	return []wire{
		{"in memory, binary", inMemory(func() pairing.Options { return pairing.Options{Codec: bus.Binary} })},
		{"in memory, JSON", inMemory(func() pairing.Options { return pairing.Options{Codec: bus.JSON} })},
		{"in memory, over bus/memory", inMemory(func() pairing.Options {
			return pairing.Options{PubSub: memory.New(memory.Options{HandOver: true})}
		})},
		{"join", joined(nil)},
		{"join, keys", joined([][]byte{[]byte("a key that both know"), []byte("an older one of them")})},
	}
}

func keepsRule(t *testing.T, rule int) {
	t.Parallel()
	for _, w := range wires() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			factory, features := w.make(t)
			pairingtest.RunRule(t, rule, factory, features)
		})
	}
}

func inMemory(options func() pairing.Options) func(*testing.T) (pairingtest.Factory, pairingtest.Features) {
	return func(*testing.T) (pairingtest.Factory, pairingtest.Features) {
		return func(_ testing.TB, a, b string) (chA, chB *bus.Channel) { return pairing.InMemory(a, b, options()) },
			pairingtest.Features{HoldsBeforeAttach: true, Ordered: true, Local: true}
	}
}

// joined makes pairs over one GoChannel that all of them share.
func joined(keys [][]byte) func(*testing.T) (pairingtest.Factory, pairingtest.Features) {
	return func(t *testing.T) (pairingtest.Factory, pairingtest.Features) {
		shared := goChannel(t)
		var serial atomic.Int64
		prefix := func() string { return fmt.Sprintf("test%d", serial.Add(1)) }
		const lease = 1500 * time.Millisecond
		presence := &pairingtest.Presence{Lease: lease, Pair: func(_ testing.TB, a, b string) (toA, toB func() (*bus.Channel, error)) {
			o := pairing.JoinOptions{Prefix: prefix(), Heartbeat: lease / 3, Keys: keys}
			return func() (*bus.Channel, error) { return pairing.Join(shared, shared, b, a, o), nil },
				func() (*bus.Channel, error) { return pairing.Join(shared, shared, a, b, o), nil }
		}}
		return func(_ testing.TB, a, b string) (chA, chB *bus.Channel) {
			o := pairing.JoinOptions{Prefix: prefix(), Keys: keys}
			return pairing.Join(shared, shared, b, a, o), pairing.Join(shared, shared, a, b, o)
		}, pairingtest.Features{Ordered: true, HoldsBeforeAttach: true, Presence: presence}
	}
}
