// Package gate is a mutex with a way past it.
package gate

import (
	"sync"
	"sync/atomic"
)

// Gate is a mutex, and a gate around it. While the gate is open, one goroutine at a time may enter it, by one atomic
// operation, and leave it by another one, and waits for nothing. Lock shuts the gate, and says whether
// a goroutine is inside, which then locks the mutex when it leaves. Unlock opens the gate where its caller says
// so. What is done between Enter and Leave happens before the next Enter, and before the next Lock that finds nothing
// inside.
//
// The zero value is unlocked and shut.
type Gate struct {
	mu    sync.Mutex
	state atomic.Uint64 // one of the states below; above these bits, what Passed returns
}

const (
	shut    = iota // changes under mu only
	open           // nothing is inside, and mu is not held
	taken          // a goroutine is inside
	watched        // likewise, and it has to lock mu when it leaves

	states = 3 // mask
	one    = 4 // passed once more
)

// Lock locks the mutex and shuts the gate. It reports whether a goroutine is inside: so it stays until Leave returns false there.
func (g *Gate) Lock() (inside bool) {
	g.mu.Lock()
	for {
		s := g.state.Load()
		switch s & states {
		case shut:
			return false
		case watched:
			return true
		case open:
			if g.state.CompareAndSwap(s, s-open+shut) {
				return false
			}
		case taken:
			if g.state.CompareAndSwap(s, s-taken+watched) {
				return true
			}
		}
	}
}

// Unlock unlocks the mutex. With mayOpen set it opens the gate, unless a goroutine is inside.
func (g *Gate) Unlock(mayOpen bool) {
	if mayOpen {
		if s := g.state.Load(); s&states == shut {
			g.state.Store(s - shut + open)
		}
	}
	g.mu.Unlock()
}

// Enter enters the gate if it is open and nothing is inside. It does not wait.
func (g *Gate) Enter() bool {
	s := g.state.Load()
	return s&states == open && g.state.CompareAndSwap(s, s-open+taken)
}

// Leave ends what Enter has begun. It is counted with passed set. False if the mutex was locked meanwhile: then it
// is locked now, the gate is shut, nothing is inside any more, and the caller has to call Unlock.
func (g *Gate) Leave(passed bool) bool {
	var n uint64
	if passed {
		n = one
	}
	if s := g.state.Load(); s&states == taken && g.state.CompareAndSwap(s, s-taken+open+n) {
		return true
	}
	g.mu.Lock()
	g.state.Add(n - watched + shut)
	return false
}

// Passed returns how often Leave was called with passed set.
func (g *Gate) Passed() uint64 { return g.state.Load() / one }
