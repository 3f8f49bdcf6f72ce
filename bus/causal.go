package bus

import (
	"context"
	"runtime"
)

// A peer accepts the events of a handler's run before the reply of that run, while a reply passes all other events. So a
// link has to know of each run whether it has emitted an event, or has waited for another run that did.
//
// An event that is emitted with the run's ctx, or one derived from it, is noted in that run, whatever the goroutine. An event
// that is emitted with another ctx on the goroutine of a run counts for every run that goes on at the time, since its own is
// not known. All other events belong to no run. A reply says on the wire whether its run has emitted nothing
// (Envelope.Free): registries on its way keep all other replies behind the events that they have received before.

// Cause is the origin of an event that is about to be emitted: the run of a handler, or something that is not known.
type Cause struct {
	bus *Bus
	run *Delivery // nil: not known
}

// Cause returns the origin of what is emitted with ctx: the run whose context ctx is, or is derived from, if there is one.
func (b *Bus) Cause(ctx context.Context) Cause {
	d, ok := DeliveryFrom(ctx)
	if !ok || d.Envelope.Type != ExecuteRequest {
		return Cause{bus: b}
	}
	return Cause{b, d}
}

// Emitted notes that an event of this origin was queued for peers. An emitter calls it on its own goroutine, before it
// returns to the code that has emitted.
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

// Begin notes that the handler of a request begins to run on the current goroutine. A layer starts all goroutines that run
// handlers with one function, which nothing else is started with: by that function [Cause.Emitted] tells them from others.
// Each Begin needs an End, on the same goroutine. What it returns is for Follow.
func (d *Delivery) Begin() (begun uint64) {
	b := d.Link.bus
	if b.runRoot.Load() == 0 {
		b.runRoot.Store(runtimeRoot())
	}
	d.Link.runs.Add(1)
	return b.loose.Load()
}

// End notes that the handler has returned.
func (d *Delivery) End() { d.Link.runs.Add(-1) }

// Follow marks e, the reply of the run, with the events that it must not pass. To be called after the last event of the
// run, and before e is sent. begun is what Begin has returned.
func (d *Delivery) Follow(e *Envelope, begun uint64) {
	e.after = d.after.Load()
	if d.Link.bus.loose.Load() != begun {
		e.after = 0
		return
	}
	e.Free = e.after == 0
}
