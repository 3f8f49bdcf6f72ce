package events

import (
	"errors"
	"slices"
	"sync"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/pattern"
)

// interest is a pattern that a group has a listener for.
type interest struct{ group, pattern string }

// attendance is which groups listen to what in this process: at this hub, and
// behind its links to others that announce it. Each hub tells each such peer what it has
// heard from the others, and how far away it is. So all know, also where links
// form circles: what has gone is told on with ever longer ways, and forgotten at
// bus.MaxHops.
type attendance struct {
	mu     sync.Mutex
	own    map[interest]int                // guarded by mu: listeners here
	links  map[*bus.Link]*acquaintance     // guarded by mu
	behind map[string]map[interest]matcher // guarded by mu: what is heard of on any link, by event ID; "" has those with wildcards. Nil: to be made anew
}

type matcher = pattern.Pattern

// acquaintance is what one peer has said, and been told: how many links away
// there is a listener.
type acquaintance struct {
	heard, told map[interest]int
	behind      bool // it was not told everything
}

func (a *attendance) init() {
	a.own, a.links = make(map[interest]int), make(map[*bus.Link]*acquaintance)
}

// attend tells the peers of a listener that has a group.
func (h *Hub) attend(l *Listener) {
	if in, ok := l.interest(); ok {
		h.attendance.count(in, 1)
	}
}

// absent tells them that there is one less.
func (h *Hub) absent(l *Listener) {
	if in, ok := l.interest(); ok {
		h.attendance.count(in, -1)
	}
}

// interest returns what peers are to know; false if nothing.
func (l *Listener) interest() (interest, bool) {
	text := l.pattern.String()
	return interest{l.opts.Group, text}, l.opts.Group != "" && !isPrivate(text)
}

func (a *attendance) count(in interest, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.own[in] += n; a.own[in] == 0 {
		delete(a.own, in)
	}
	a.tell(in)
}

// meet notes a link that opens.
func (a *attendance) meet(l *bus.Link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.links[l] = &acquaintance{heard: make(map[interest]int), told: make(map[interest]int)}
}

// greet tells a peer everything, now that it has said whether it wants to know.
func (a *attendance) greet(l *bus.Link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.links[l]; p != nil {
		a.catchUp(l, p)
	}
}

// part forgets a link that closes, and tells the others.
func (a *attendance) part(l *bus.Link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.links[l]
	if p == nil {
		return
	}
	delete(a.links, l)
	a.behind = nil
	for in := range p.heard {
		a.tell(in)
	}
}

// attending takes what a peer says about a group.
func (r *receiver) attending(d *bus.Delivery) {
	in := interest{d.Envelope.Key, d.Envelope.Name}
	_, err := pattern.Parse(in.pattern)
	if err == nil && (in.group == "" || !isGroup(in.group) || isPrivate(in.pattern)) {
		err = errors.New("not a group that can be announced")
	}
	if err != nil {
		r.link.Reject(d, err)
		return
	}
	r.h.attendance.hear(r.link, in, d.Envelope.Hops)
}

func (a *attendance) hear(l *bus.Link, in interest, distance int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.links[l]
	if p == nil || p.heard[in] == distance {
		return
	}
	if p.heard[in] = distance; distance == 0 {
		delete(p.heard, in)
	}
	a.behind = nil
	a.tell(in)
}

// tell brings what the peers know about one interest up to date. a.mu is held,
// so that they hear everything in the order in which it came about.
func (a *attendance) tell(in interest) {
	for l, p := range a.links {
		if p.behind {
			a.catchUp(l, p)
			continue
		}
		a.tellPeer(l, p, in)
	}
}

// catchUp tells a peer all that it does not know. a.mu is held.
func (a *attendance) catchUp(l *bus.Link, p *acquaintance) {
	p.behind = false
	for in := range a.own {
		a.tellPeer(l, p, in)
	}
	for _, other := range a.links {
		for in := range other.heard {
			a.tellPeer(l, p, in)
		}
	}
	for in := range p.told {
		a.tellPeer(l, p, in)
	}
}

// tellPeer tells a peer about one interest, if there is news. What finds no
// room in the queue is told with the next. a.mu is held.
func (a *attendance) tellPeer(l *bus.Link, p *acquaintance, in interest) {
	n := a.distance(in, l)
	if !l.Understands(bus.CanGroup) || p.told[in] == n {
		return
	}
	if err := l.Send(bus.Envelope{Type: bus.Group, Key: in.group, Name: in.pattern, Hops: n}); err != nil {
		p.behind = true
		return
	}
	if p.told[in] = n; n == 0 {
		delete(p.told, in)
	}
}

// distance returns how many links away from the peer of l the nearest listener
// is, that is not behind that peer itself; 0 if there is none. a.mu is held.
func (a *attendance) distance(in interest, l *bus.Link) int {
	if a.own[in] > 0 {
		return 1
	}
	nearest := bus.MaxHops
	for other, p := range a.links {
		if n := p.heard[in]; other != l && n > 0 {
			nearest = min(nearest, n)
		}
	}
	if nearest >= bus.MaxHops {
		return 0
	}
	return nearest + 1
}

// serving returns the groups that have listeners for an event here, own, and
// behind the links, each once. It is not nil.
func (a *attendance) serving(event string, own []string) *bus.GroupSet {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.behind == nil {
		a.index()
	}
	groups := own
	for in := range a.behind[event] {
		if !slices.Contains(groups, in.group) {
			groups = append(groups, in.group)
		}
	}
	for in, p := range a.behind[""] {
		if p.Match(event) && !slices.Contains(groups, in.group) {
			groups = append(groups, in.group)
		}
	}
	if groups == nil {
		return noGroups
	}
	set := bus.GroupSet(groups)
	return &set
}

// index makes behind. a.mu is held.
func (a *attendance) index() {
	a.behind = make(map[string]map[interest]matcher)
	for _, p := range a.links {
		for in := range p.heard {
			parsed, err := pattern.Parse(in.pattern)
			if err != nil {
				continue // attending has refused it
			}
			key := in.pattern
			if parsed.Wild() {
				key = ""
			}
			if a.behind[key] == nil {
				a.behind[key] = make(map[interest]matcher)
			}
			a.behind[key][in] = parsed
		}
	}
}
