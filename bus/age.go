package bus

import (
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// The age of an event is the time since it was emitted, on all links and in all queues. A link without presence knows
// nothing of the time in transit: there hops bound what circulates, and over a transport without metadata nothing but
// what registries remember of the event (see eventLog). A link with presence knows it once it knows the clocks: it counts what
// is certain, which is all but half of the round trip in which the clocks were measured.

// stampAge writes when an event stops being relayed, by this side's clock.
func (p *presence) stampAge(it *outItem, md message.Metadata) {
	left := max(time.Microsecond, min(it.life-(time.Since(p.link.made)-it.born), maxLeft))
	md[keyExpires] = strconv.FormatInt(p.micros()+left.Microseconds(), 10)
}

// takeAge takes the time in transit from the life of an event. One that has outlived it is delivered, and not relayed.
func (p *presence) takeAge(e *Envelope, md message.Metadata, now int64) (bool, error) {
	expires, err := parseTime(md, keyExpires)
	if err != nil || expires == 0 {
		return err == nil, err
	}
	if left, known := p.clock.remaining(expires, now); known && (e.Life == 0 || left < e.Life) {
		e.Life = max(time.Microsecond, left)
	}
	return true, nil
}
