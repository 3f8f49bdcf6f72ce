package bus

// fifo is a queue of messages. The zero value is empty. It is used again when it is
// empty, and let go if it has grown large.
type fifo struct {
	items []outItem
	head  int // the first that is still there
}

// keptItems bounds the memory that a link keeps for a queue that is empty.
const keptItems = 1024

func (q *fifo) len() int { return len(q.items) - q.head }

func (q *fifo) push(it outItem) {
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, it)
}

// unpop puts an item before all others.
func (q *fifo) unpop(it outItem) {
	if q.head == 0 {
		q.items = append(q.items, outItem{})
		copy(q.items[1:], q.items)
		q.items[0] = it
		return
	}
	q.head--
	q.items[q.head] = it
}

func (q *fifo) first() *outItem { return &q.items[q.head] }

func (q *fifo) pop() outItem {
	it := q.items[q.head]
	q.items[q.head] = outItem{}
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		if cap(q.items) > keptItems {
			q.items = nil
		}
	}
	return it
}

// takeAll empties the queue and returns what was in it.
func (q *fifo) takeAll() []outItem {
	all := q.items[q.head:]
	*q = fifo{}
	return all
}
