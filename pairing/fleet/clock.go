package fleet

import "time"

// clock is what is known about another process's clock.
type clock struct {
	offset   time.Duration // how far it is ahead
	rtt      time.Duration // of the exchange that this is from: it is off by half of that at most
	measured time.Time     // zero when it is not known
}

// stamp is the time as the others are told.
func (f *Fleet) stamp() int64 { return f.opts.now().UnixMicro() }

// observe learns from an answer: echo is when the question left here, sent when the answer left there. The exchange
// with the shortest way there and back says most; one that is much older has to make room, since clocks drift, and so
// has one that excludes the new one, since then a clock was set.
func (c *clock) observe(echo, sent, now int64, lease time.Duration) {
	rtt := time.Duration(now-echo) * time.Microsecond
	if echo == 0 || sent == 0 || rtt < 0 {
		return
	}
	offset := time.Duration((sent-echo)+(sent-now)) * time.Microsecond / 2
	agree := (offset - c.offset).Abs() <= (rtt+c.rtt)/2
	if !c.measured.IsZero() && rtt > c.rtt && time.Since(c.measured) < clockAge*lease && agree {
		return
	}
	c.offset, c.rtt, c.measured = offset, rtt, time.Now()
}

// hear learns from anything that the other process has sent: it has taken some time, so that its clock is at least so far ahead. That is
// what counts for deadlines, and needs no question.
func (c *clock) hear(sent, now int64) {
	if sent == 0 {
		return
	}
	least := time.Duration(sent-now) * time.Microsecond
	switch most := c.offset + c.rtt/2; {
	case c.measured.IsZero() || least > most: // or the clock was set
		c.offset, c.rtt = least, 0
		c.measured = time.Now()
	case least > c.offset-c.rtt/2:
		c.offset, c.rtt = (least+most)/2, most-least
	}
}

// clockAge is how many leases a measurement counts.
const clockAge = 10

// left is the time until an instant of the other's clock, not less than it really is, or as much as is worth telling; false
// if it is not known. A caller that waits for ever has an instant so far ahead that the difference of the clocks would not fit.
func (c *clock) left(at, now int64) (time.Duration, bool) {
	if at == 0 || c.measured.IsZero() {
		return 0, false
	}
	return time.Duration(min(at-now, maxMicros/2))*time.Microsecond - c.offset + c.rtt/2, true
}
