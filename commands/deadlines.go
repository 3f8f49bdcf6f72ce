package commands

import "time"

// deadlines ends what waits too long: one heap and one timer for many requests,
// so that a call costs no timer of its own and an idle registry still times
// out. All of it is guarded by its owner's mu.
type deadlines struct {
	waiting schedule[*exchange]
	alarm   alarm
	fire    func() // the alarm's function
}

// add makes ex expire at its time, unless it is removed before.
func (d *deadlines) add(ex *exchange) {
	d.waiting.add(ex)
	if ex.index == 1 {
		d.alarm.set(ex.at, d.fire)
	}
}

// remove forgets ex. The alarm is left alone: it finds nothing due, and is set
// to whatever is first then.
func (d *deadlines) remove(ex *exchange) { d.waiting.remove(ex) }

// due removes and returns what has expired, and sets the alarm for the rest.
func (d *deadlines) due() (expired []*exchange) {
	d.alarm.fired()
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
