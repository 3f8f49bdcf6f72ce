package memory

import (
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// verdict is what a subscriber said of a message.
type verdict int

const (
	undecided verdict = iota
	acked
	nacked
)

// verdictOf looks at msg's channels without waiting.
func verdictOf(msg *message.Message) verdict {
	select {
	case <-msg.Acked():
		return acked
	default:
	}
	select {
	case <-msg.Nacked():
		return nacked
	default:
		return undecided
	}
}

// stage is where a delivery is between leaving the queue and leaving the
// window.
type stage int

const (
	out     stage = iota // given to the subscriber, no verdict noticed yet
	waiting              // nacked, to be delivered again at due
	dead                 // nacked for the last time, to be buried by the pump
	gone                 // no longer in the window
)

// delivery is one try at delivering one entry. Its fields are guarded by the
// topic's mutex, except for ctx, which guards itself, and msg, which is set
// before the delivery is shared.
type delivery struct {
	entry
	ctx   messageContext
	msg   *message.Message // what the subscriber got; entry.msg is what was published
	tries int              // how often entry was delivered, this time included
	stage stage
	due   time.Time // when stage is waiting
	stale bool      // was watched for a whole patrol in vain
}

// slabSize is how many deliveries are allocated at once. A delivery cannot be
// reused, because the subscriber may keep its context; a settled one holds on
// to nothing else, so a slab kept alive by one of them is a small thing.
const slabSize = 16

// newDelivery returns a delivery that was never used. The caller holds
// topic.mu.
func (s *subscription) newDelivery() *delivery {
	if len(s.slab) == 0 {
		s.slab = make([]delivery, slabSize)
	}
	d := &s.slab[0]
	s.slab = s.slab[1:]
	return d
}

// prepare makes the message that the subscriber gets.
func (d *delivery) prepare(s *subscription) {
	published := d.entry.msg
	d.msg = published
	if !d.handOver || d.tries > 1 || !deliverable(published) {
		d.msg = published.Copy()
	}
	switch {
	case !s.opts.PreserveContext:
		d.ctx.parent, d.ctx.msg = s.ctx, d.msg
		d.msg.SetContext(&d.ctx)
	case d.msg != published:
		d.msg.SetContext(published.Context())
	}
}

// deliverable reports whether the ack state of msg is unused, and visible: a
// message that was not made by NewMessage has no channel to watch.
func deliverable(msg *message.Message) bool {
	return msg.Acked() != nil && msg.Nacked() != nil && verdictOf(msg) == undecided
}

// finish takes d out of play and drops what it refers to.
func (d *delivery) finish() {
	d.stage = gone
	d.ctx.settle()
	d.entry, d.msg = entry{}, nil
}
