package commands

import (
	"iter"
	"time"
)

// deadlines ends what waits too long: one timer for many requests, so that a call costs no timer of its own and an idle
// registry still times out. All of it is guarded by its owner's mu.
//
// Nearly all requests are answered long before their deadline. So a request enters the heap only if it is still there when
// the timer fires; until then nothing is ordered, and the timer is never set to later than the earliest of the deadlines.
type deadlines struct {
	waiting schedule[*exchange] // those that were there when the timer fired
	alarm   alarm
	fire    func() // the alarm's function
}

// add makes ex expire at its time, unless it is removed before.
func (d *deadlines) add(ex *exchange) { d.alarm.set(ex.at, d.fire) }

// remove forgets ex. The alarm is left alone: it finds nothing due, and is set
// to whatever is first then.
func (d *deadlines) remove(ex *exchange) { d.waiting.remove(ex) }

// due removes and returns what has expired, of all that wait, and sets the alarm for the rest.
func (d *deadlines) due(all iter.Seq[*exchange]) (expired []*exchange) {
	d.alarm.fired()
	for ex := range all {
		if !ex.scheduled() {
			d.waiting.add(ex)
		}
	}
	now := time.Now()
	for {
		ex, ok := d.waiting.takeDue(now)
		if !ok {
			break
		}
		expired = append(expired, ex)
	}
	if len(d.waiting) > 0 {
		d.alarm.set(d.waiting.next(), d.fire)
	}
	return expired
}

// stop ends the timer.
func (d *deadlines) stop() {
	d.waiting = nil
	d.alarm.stop()
}
