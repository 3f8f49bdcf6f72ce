package events

// crowd is the listeners of one event ID, of all patterns with wildcards, or of a group. Adding and removing one costs the
// same however many there are. Guarded by Hub.mu.
type crowd struct {
	list []*Listener
	of   int // which of Listener.places is the place in it
}

// What a crowd is of.
const (
	ofPattern = iota
	ofGroup
)

func (c *crowd) add(l *Listener) {
	l.places[c.of] = len(c.list)
	c.list = append(c.list, l)
}

// remove takes out a listener that is in it: the last one takes its place.
func (c *crowd) remove(l *Listener) {
	last, place := len(c.list)-1, l.places[c.of]
	c.list[place] = c.list[last]
	c.list[place].places[c.of] = place
	c.list[last] = nil
	if c.list = c.list[:last]; last <= cap(c.list)/4 {
		c.list = append(make([]*Listener, 0, 2*last), c.list...)
	}
}
