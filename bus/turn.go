package bus

import "slices"

// line is those that wait to have a message accepted, first come first served: callers and
// handlers, each in a goroutine of its own. One is woken for each place that gets free. An outbox guards it by its mu.
type line struct {
	turns []*turn
	gone  int // how many of turns have left
}

// turn is one that waits.
type turn struct {
	item    outItem
	state   turnState     // guarded by the outbox's mu
	decided chan struct{} // closed when it is granted or refused
}

type turnState uint8

const (
	turnWaits turnState = iota
	turnGranted
	turnRefused // the outbox has closed
	turnLeft
)

func (l *line) empty() bool { return len(l.turns) == l.gone }

// queueUp waits for room for an item, unless there is some.
func (o *outbox) queueUp(it outItem) *turn {
	t := &turn{item: it, decided: make(chan struct{})}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch o.admit(&t.item, true) {
	case nil:
		t.decide(turnGranted)
	case ErrFull:
		l := o.lineOf(&it)
		l.turns = append(l.turns, t)
	default:
		t.decide(turnRefused)
	}
	return t
}

func (t *turn) decide(s turnState) {
	t.state = s
	close(t.decided)
}

func (o *outbox) lineOf(it *outItem) *line {
	if it.kind == traffic {
		return &o.callers
	}
	return &o.handlers
}

// leaveLine gives a turn up.
func (o *outbox) leaveLine(t *turn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch t.state {
	case turnGranted:
		o.uncount(&t.item)
		o.grant()
	case turnWaits:
		l := o.lineOf(&t.item)
		if l.gone++; l.gone > len(l.turns)/2 {
			l.turns = slices.DeleteFunc(l.turns, func(o *turn) bool { return o == t || o.state == turnLeft })
			l.gone = 0
		}
	}
	t.state = turnLeft
}

// grant accepts those for which there is room. o.mu is held. Emitters that wait go first: they are woken all
// at once, and would never find any.
func (o *outbox) grant() {
	o.grantLine(&o.handlers)
	if o.room.open == nil {
		o.grantLine(&o.callers)
	}
}

func (o *outbox) grantLine(l *line) {
	for len(l.turns) > 0 {
		t := l.turns[0]
		if t.state != turnLeft {
			if !o.waiterFits(&t.item) {
				return
			}
			o.count(&t.item)
			t.decide(turnGranted)
		} else {
			l.gone--
		}
		l.turns[0] = nil
		l.turns = l.turns[1:]
	}
	l.turns = nil
}

// refuse ends all waits.
func (l *line) refuse() {
	for _, t := range l.turns {
		if t.state == turnWaits {
			t.decide(turnRefused)
		}
	}
	*l = line{}
}

// Turn is a place in the line of those that wait to send a request on a link.
type Turn struct {
	link *Link
	turn *turn
}

// Wait queues up for room to send a request of that size, or to be told that the link has closed.
func (l *Link) Wait(e Envelope) Turn {
	return Turn{l, l.out.queueUp(outItem{typ: ExecuteRequest, size: e.Size() + itemOverhead})}
}

// Come is closed when it is time to Post, or to Leave.
func (t Turn) Come() <-chan struct{} { return t.turn.decided }

// Post is [Link.Post] once the turn has come. It must be called once, unless Leave is.
func (t Turn) Post(e Envelope) error {
	m, err := t.link.marshal(&e)
	var it outItem
	if err == nil {
		it, err = t.link.item(&e, m)
	}
	if err != nil {
		t.Leave()
		return t.link.sendError(err)
	}
	it.size, it.admitted = t.turn.item.size, t.turn.item.admitted
	return t.link.sendError(t.link.offer(&e, it, true))
}

// Leave gives the turn up.
func (t Turn) Leave() { t.link.out.leaveLine(t.turn) }
