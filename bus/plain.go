package bus

// A peer that names no session, such as one in another language, is taken as it is, but only until a peer with a session
// is confirmed, and only after it has taken part in the handshake. A message that strays in from elsewhere changes nothing.

// plainness is how far the handshake with a peer without sessions has come.
type plainness int

const (
	unmet    plainness = iota
	saidHi             // it has said hello: what it sends is taken
	answered           // it has answered this side's hello: it is there, and what is held is sent to it
)

// maxHellos bounds the own greetings of which an answer is recognized: a greeting is repeated until it is answered.
const maxHellos = 16

// admitPlain decides about a message that names no session.
func (p *presence) admitPlain(e *Envelope) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.peer.Load() != nil:
	case e.Type == ListRequest:
		p.plain = max(p.plain, saidHi)
		p.addGreeter(greeter{thread: e.ID})
		return true
	case e.Type == ListResponse && p.greetedWith(e.Thread):
		p.plain = answered
		p.release()
		return true
	case p.plain == answered, p.plain == saidHi && e.Type != Goodbye:
		return true
	}
	p.link.stats.stale.Add(1)
	return false
}

// greets notes the ID of a greeting of this side's. p.mu is held.
func (p *presence) greets(id string) {
	if len(p.hellos) == maxHellos {
		p.hellos = append(p.hellos[:0], p.hellos[1:]...)
	}
	p.hellos = append(p.hellos, id)
}

// greetedWith reports whether id is that of one of the last greetings. p.mu is held.
func (p *presence) greetedWith(id string) bool {
	for _, hello := range p.hellos {
		if hello == id {
			return true
		}
	}
	return false
}
