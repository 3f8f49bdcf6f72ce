package bus

import "slices"

// line is the callers or handlers that wait to have a message accepted, first come first served, each in a goroutine of
// its own. One is woken for each place that gets free. An outbox guards it by its mu.
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
	if len(o.handlers.turns) > 0 {
		o.grantLine(&o.handlers)
	}
	if len(o.callers.turns) > 0 && o.room.open == nil {
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

// Turn is a place in the line of callers that wait to send a request on a link; see [Link.Wait]. One of Post and Cancel
// has to be called, once: until then a turn that is ready keeps its room from others.
type Turn struct {
	link *Link
	turn *turn
}

// Wait takes a place in the line for room to send e, a request, and returns without waiting. Places become ready first
// come, first served; all do at once when the link closes.
func (l *Link) Wait(e Envelope) Turn {
	return Turn{l, l.out.queueUp(outItem{typ: ExecuteRequest, size: e.Size() + itemOverhead})}
}

// Ready is closed when there is room for the request, or the link has closed: it is time for Post then.
func (t Turn) Ready() <-chan struct{} { return t.turn.decided }

// Post is [Link.Post], in the room that Ready has announced. Errors: as of Link.Post; the room is free again then.
func (t Turn) Post(e Envelope) error {
	m, err := t.link.marshal(&e)
	var it outItem
	if err == nil {
		it, err = t.link.item(&e, m)
	}
	if err != nil {
		t.Cancel()
		return t.link.sendError(err)
	}
	it.size, it.admitted = t.turn.item.size, t.turn.item.admitted
	return t.link.sendError(t.link.offer(&e, it, true))
}

// Cancel gives the turn up, before or after it is ready: the next one in the line has the room.
func (t Turn) Cancel() { t.link.out.leaveLine(t.turn) }
