package commands

import (
	"time"

	"github.com/leatbus/leat/bus"
)

// doubts are commands that the table says a peer has, and that the peer has
// answered not_found for without saying whether routing or a handler did. The
// peer is asked for its list, once in a while, and those that are not on it are
// forgotten. All of it is guarded by the peer's mu.
type doubts struct {
	fresh  map[string]struct{} // doubted since the list was asked for
	judged map[string]struct{} // doubted before
	thread string              // the ID of the request for the list; empty when none is under way
	asked  time.Time           // when that was sent
	timer  *time.Timer         // asks again; nil while nothing is doubted
	over   bool                // the link has closed
}

// doubtPause is the time in which a peer is asked for its list once, however
// often it answers not_found. A list that has not come in that time may be lost.
const doubtPause = time.Second

func (d *doubts) stop() {
	d.over = true
	if d.timer != nil {
		d.timer.Stop()
	}
}

// doubt has the peer's list tell whether the peer has the command. A list has
// what a peer executes itself: of what a peer of our kind has registered for
// others it tells nothing, and such a peer withdraws what has gone.
func (p *peer) doubt(id string) {
	cmd := p.r.lookup(id)
	if cmd == nil || cmd.owner != p || cmd.registered && p.link.Understands(bus.CanWithdraw) {
		return
	}
	p.mu.Lock()
	d := &p.doubts
	if d.over {
		p.mu.Unlock()
		return
	}
	if d.fresh == nil {
		d.fresh = make(map[string]struct{})
	}
	d.fresh[id] = struct{}{}
	wait := doubtPause - time.Since(d.asked)
	if wait > 0 && d.timer == nil {
		d.timer = time.AfterFunc(wait, p.askForList)
	}
	p.mu.Unlock()
	if wait <= 0 {
		p.askForList()
	}
}

// askForList asks for the list that tells about all that is doubted by now.
func (p *peer) askForList() {
	p.mu.Lock()
	d := &p.doubts
	if d.over || len(d.fresh) == 0 || time.Since(d.asked) < doubtPause {
		p.mu.Unlock()
		return
	}
	d.judged, d.fresh, d.timer = d.fresh, nil, nil
	d.thread, d.asked = bus.NewID(), time.Now()
	thread := d.thread
	p.mu.Unlock()
	_ = p.link.Send(bus.Envelope{ID: thread, Type: bus.ListRequest}) // lost: the next not_found asks again
}

// clear forgets the doubted commands that are not on the list which was asked
// for. Of a list in several messages, the last one decides.
func (p *peer) clear(e *bus.Envelope, defs []bus.Definition) {
	p.mu.Lock()
	d := &p.doubts
	if d.thread == "" || e.Thread != d.thread {
		p.mu.Unlock()
		return
	}
	for i := range defs {
		delete(d.judged, defs[i].ID)
	}
	if e.Partial {
		p.mu.Unlock()
		return
	}
	gone := d.judged
	d.judged, d.thread = nil, ""
	p.mu.Unlock()
	for id := range gone {
		if cmd := p.r.lookup(id); cmd != nil && cmd.owner == p {
			p.r.evict(id, p)
		}
	}
}
