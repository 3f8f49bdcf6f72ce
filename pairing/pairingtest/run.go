package pairingtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leatbus/leat/bus"
)

// Factory makes the two connected halves of a new pair, by the convention of
// pairing.InMemory: chA has the ID a, and is registered on the side that calls
// its peer a.
//
// Pairs are isolated from each other, also where the same names come again, in
// the same test or in one that runs at the same time: a transport with shared
// topics needs a prefix of its own for each call. Both halves have a
// Subscriber. What the factory makes beside the channels it releases in
// t.Cleanup; channels are closed by the kit, or by the links it makes of them.
// Called on the test's goroutine.
type Factory func(t testing.TB, a, b string) (chA, chB *bus.Channel)

// Features says what a transport can do. What it cannot do is not tested; the
// zero value is the least that is acceptable.
type Features struct {
	// HoldsBeforeAttach: what one half sends before the other is attached is
	// delivered when it is. Without it the kit subscribes to both before it
	// attaches either.
	HoldsBeforeAttach bool
	// Ordered: what is published one by one arrives in that order.
	Ordered bool
	// Local: the halves are marked Local, so that private commands can be
	// called over them.
	Local bool
	// Presence of links whose transport leads to another process. Nil: none.
	Presence *Presence
	// Slowness multiplies the times that the kit waits, both for what has to
	// happen (a minute) and for timeouts that it provokes (50 ms). Default 1, which
	// suits what runs in this process.
	Slowness int
	// Fewer divides the numbers of calls and events, where the kit makes many: 10
	// suits a broker that takes milliseconds for each. Default 1, and 10 with -short.
	Fewer int
}

func (f Features) withDefaults() Features {
	f.Slowness = max(1, f.Slowness)
	if f.Fewer < 1 {
		f.Fewer = 1
		if testing.Short() {
			f.Fewer = 10
		}
	}
	return f
}

// Run runs every rule against the transport, in parallel subtests.
//
// Run checks after each subtest that no goroutine of leat's is left. For
// goroutines of the transport use goleak in TestMain.
func Run(t *testing.T, f Factory, features Features) { run(t, groups(), f, features) }

// RunRule is Run for one of the rules, 1 to 29, by its number in docs/internals/rules.md. For a number without statements in
// the kit it fails the test.
func RunRule(t *testing.T, rule int, f Factory, features Features) {
	t.Helper()
	prefix := fmt.Sprintf("rule%02d_", rule)
	chosen := slices.DeleteFunc(groups(), func(g group) bool { return !strings.HasPrefix(g.name, prefix) })
	if len(chosen) == 0 {
		t.Fatalf("the kit has no statement of rule %d", rule)
	}
	run(t, chosen, f, features)
}

func run(t *testing.T, groups []group, f Factory, features Features) {
	features = features.withDefaults()
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range g.statements {
				if c.needs != nil && !c.needs(features) {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.check(newKit(t, f, features))
				})
			}
		})
	}
}

// group is one rule.
type group struct {
	name       string
	statements []statement
}

// statement is one promise that a rule makes.
type statement struct {
	name  string
	check func(*kit)
	needs func(Features) bool // nil: every transport
}

func holds(f Features) bool   { return f.HoldsBeforeAttach }
func loses(f Features) bool   { return !f.HoldsBeforeAttach }
func ordered(f Features) bool { return f.Ordered }
func local(f Features) bool   { return f.Local }

func groups() []group {
	var all []group
	for _, part := range [][]group{callRules(), cancelRules(), flowRules(), routeRules(), registrationRules(),
		eventRules(), lifecycleRules(), middlewareRules()} {
		all = append(all, part...)
	}
	return all
}

const (
	patience = time.Minute           // for what has to happen
	brief    = 50 * time.Millisecond // for timeouts that are provoked
)
