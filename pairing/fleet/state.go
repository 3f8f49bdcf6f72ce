package fleet

import (
	"runtime/debug"
	"time"
)

// Phase says whether a fleet is in touch with the others.
type Phase string

const (
	// Starting: what this process sends itself on its topics has not come back yet.
	Starting Phase = "starting"
	// Connected: it has, and what it says since comes back.
	Connected Phase = "connected"
	// Isolated: what it says has not come back for two thirds of its lease: the broker is away, or this process is cut off
	// from it. Calls for commands of others fail with ChannelDisconnected, durable ones wait; it goes on as soon as the broker is back.
	Isolated Phase = "isolated"
	// Ended: the fleet was closed, has left, or another process has begun under its ID; see Fleet.Err.
	Ended Phase = "ended"
)

// State is how a fleet is, and since when.
type State struct {
	Phase Phase
	Since time.Time // when it began: of Isolated, when it was last in touch
}

// State returns the state as it is now.
func (f *Fleet) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.look()
	return f.state
}

// look brings the state up to date. f.mu is held.
func (f *Fleet) look() {
	next := State{Phase: Connected, Since: time.Now()}
	switch {
	case f.err != nil:
		next.Phase = Ended
	case !f.isReady():
		next.Phase = Starting
	case time.Since(f.heard) > f.opts.Lease*2/3:
		next.Phase, next.Since = Isolated, f.heard
	}
	if next.Phase == f.state.Phase {
		return
	}
	f.state = next
	select {
	case f.stateNews <- struct{}{}:
	default:
	}
}

// tellStates calls OnState with each state after Starting, or the last of several that have come meanwhile, until the fleet ends.
func (f *Fleet) tellStates() {
	var told State
	for {
		select {
		case <-f.stateNews:
		case <-f.closing:
		}
		s := f.State()
		if s != told && s.Phase != Starting {
			f.tellState(s)
			told = s
		}
		if s.Phase == Ended {
			return
		}
	}
}

func (f *Fleet) tellState(s State) {
	defer func() {
		if v := recover(); v != nil {
			f.log.Error("panic in fleet.Options.OnState", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	f.opts.OnState(s)
}
