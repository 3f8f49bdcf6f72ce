package memory

import "github.com/ThreeDotsLabs/watermill/message"

// entry is one message on its way to one subscription.
type entry struct {
	// msg is what was published, untouched since: the PubSub's own copy, or
	// the publisher's message under Options.HandOver. It may be shared by
	// subscriptions.
	msg *message.Message

	// handOver says that msg itself is to be delivered first.
	handOver bool
}

// queue is a FIFO of entries in a ring that doubles when it is full and is
// let go when it is empty and was large. The zero value is an empty queue.
// Its bound is its user's business.
type queue struct {
	ring []entry // length zero or a power of two
	head int     // index of the oldest entry
	n    int
}

const (
	minRing  = 16
	keptRing = 1024 // an empty ring above this is released
)

func (q *queue) len() int { return q.n }

func (q *queue) push(e entry) {
	if q.n == len(q.ring) {
		q.grow()
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = e
	q.n++
}

// pop removes and returns the oldest entry of a queue that is not empty.
func (q *queue) pop() entry {
	e := q.ring[q.head]
	q.ring[q.head] = entry{} // for the garbage collector
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
	if q.n == 0 && len(q.ring) > keptRing {
		*q = queue{}
	}
	return e
}

func (q *queue) grow() {
	ring := make([]entry, max(minRing, 2*len(q.ring)))
	n := copy(ring, q.ring[q.head:])
	copy(ring[n:], q.ring[:q.head])
	q.ring, q.head = ring, 0
}
