package gate

import (
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestModelOfTheGate is all that one goroutine can do with a gate, beside another one that is inside.
func TestModelOfTheGate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var g Gate
		isOpen, inside, known := false, false, false
		passed := uint64(0)
		rt.Repeat(map[string]func(*rapid.T){
			"lock": func(rt *rapid.T) {
				require.Equal(rt, inside, g.Lock())
				known = inside
				mayOpen := rapid.Bool().Draw(rt, "open")
				g.Unlock(mayOpen)
				isOpen = mayOpen && !inside
			},
			"enter": func(rt *rapid.T) {
				require.Equal(rt, isOpen, g.Enter())
				if isOpen {
					isOpen, inside, known = false, true, false
				}
			},
			"leave": func(rt *rapid.T) {
				if !inside {
					rt.Skip()
				}
				count := rapid.Bool().Draw(rt, "passed")
				require.Equal(rt, !known, g.Leave(count))
				if count {
					passed++
				}
				inside, isOpen = false, !known
				if known {
					isOpen = rapid.Bool().Draw(rt, "open")
					g.Unlock(isOpen)
				}
			},
			"": func(rt *rapid.T) { require.Equal(rt, passed, g.Passed()) },
		})
	})
}

// TestOnlyOneIsInside has goroutines on both ways. Under the race detector it also says that what they do there is
// seen by the next ones.
func TestOnlyOneIsInside(t *testing.T) {
	t.Parallel()
	var g Gate
	g.Lock()
	g.Unlock(true)
	const each = 20_000
	inside, locked, entered, ended := 0, 0, uint64(0), 0 // guarded by the gate, on either way
	busy := false                                        // guarded by the mutex: one is inside, and it is known
	release := func() {
		ended++
		g.Unlock(true)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range each {
				if (n+i)%3 > 0 && g.Enter() {
					inside++
					if inside != 1 {
						t.Error("two are inside")
					}
					if n%64 == 0 {
						runtime.Gosched()
					}
					entered++
					inside--
					if !g.Leave(true) {
						busy = false
						release()
					}
					continue
				}
				if g.Lock() {
					busy = true
				} else {
					if busy || inside != 0 {
						t.Error("Lock does not say that one is inside")
					}
					locked++
				}
				release()
			}
		})
	}
	wg.Wait()
	require.False(t, g.Lock())
	assert.False(t, busy)
	assert.Equal(t, entered, g.Passed())
	assert.Positive(t, entered)
	assert.Positive(t, locked)
	g.Unlock(false)
	assert.False(t, g.Enter())
}
