package bus

import (
	"context"
	"runtime"
)

// An event that a handler has emitted is accepted by the peer before the handler's reply, while a reply passes all other
// events. So it has to be known of each run whether it has emitted, or a run that it has waited for.
//
// What is emitted with the run's ctx, or one derived from it, on whatever goroutine, is noted there. What is emitted with
// another one on the goroutine of a run is taken for an event of every run that goes on at the time: which one it is of is not
// known. All else is no run's. A reply says on the wire whether its run has emitted nothing (Envelope.Free): registries on its way
// keep all others behind the events that they have received before.

// Cause is what may have emitted an event: the run of a handler, or something that is not known.
type Cause struct {
	bus *Bus
	run *Delivery // nil: not known
}

// Cause returns the run that ctx belongs to, if it belongs to one.
func (b *Bus) Cause(ctx context.Context) Cause {
	d, ok := DeliveryFrom(ctx)
	if !ok || d.Envelope.Type != ExecuteRequest {
		return Cause{bus: b}
	}
	return Cause{b, d}
}

// Emitted notes that an event was queued for peers. To be called before the emitter goes on, on its goroutine.
func (c Cause) Emitted() {
	switch {
	case c.run != nil:
		c.run.emitted(c.run.Link.out.lastNumber())
	case c.bus.running() && runtimeRoot() == c.bus.runRoot.Load():
		c.bus.loose.Add(1)
	}
}

// running reports whether any handler runs.
func (b *Bus) running() bool {
	for _, l := range b.Links() {
		if l.runs.Load() > 0 {
			return true
		}
	}
	return false
}

// runtimeRoot returns the entry of the function that the current goroutine was started with.
func runtimeRoot() uintptr {
	var pcs [64]uintptr
	for skip := 0; ; skip += len(pcs) - 2 {
		n := runtime.Callers(skip, pcs[:])
		switch {
		case n == len(pcs):
		case n < 2:
			return 0
		default: // the last one is runtime.goexit
			return runtime.FuncForPC(pcs[n-2]).Entry()
		}
	}
}

func (d *Delivery) emitted(number uint64) {
	for {
		old := d.after.Load()
		if old >= number || d.after.CompareAndSwap(old, number) {
			return
		}
	}
}

// Begin notes that the handler of a request begins to run, on the current goroutine. All such goroutines have to be started with
// the same function, which does nothing else. Each Begin needs an End.
func (d *Delivery) Begin() {
	b := d.Link.bus
	if b.runRoot.Load() == 0 {
		b.runRoot.Store(runtimeRoot())
	}
	d.Link.runs.Add(1)
	d.loose = b.loose.Load()
}

// End notes that it has returned.
func (d *Delivery) End() { d.Link.runs.Add(-1) }

// Follow says in e, the reply of the run, what it must not pass.
func (d *Delivery) Follow(e *Envelope) {
	e.after = d.after.Load()
	if d.Link.bus.loose.Load() != d.loose {
		e.after = 0
		return
	}
	e.Free = e.after == 0
}
