package fleet

import "github.com/leatbus/leat/bus"

// effects are what a change of the fleet's state brings about, and what must not happen under its lock: messages for
// the registry, and lines for the log.
type effects struct {
	registry []bus.Envelope
	logs     []func()
	tell     bool // the registry's knowledge is to be brought up to date
}

func (fx *effects) deliver(e bus.Envelope) { fx.registry = append(fx.registry, e) }
func (fx *effects) log(line func())        { fx.logs = append(fx.logs, line) }

// update changes the state under the lock, and then does what comes of it.
func (f *Fleet) update(change func(*effects)) {
	var fx effects
	f.mu.Lock()
	change(&fx)
	f.settleUpdate(&fx)
	f.mu.Unlock()
	f.perform(&fx)
}

// settleUpdate ends a change. f.mu is held.
func (f *Fleet) settleUpdate(fx *effects) {
	fx.tell = len(f.dirty) > 0 || f.link != nil && f.link.hello != ""
}

func (f *Fleet) perform(fx *effects) {
	for _, line := range fx.logs {
		line()
	}
	f.hand(fx.registry...)
	if fx.tell {
		f.reconcile()
	}
}
