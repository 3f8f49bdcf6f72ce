package events

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/pattern"
)

// interest is a pattern that a group has a listener for.
type interest struct{ group, pattern string }

// Bounds of what is known of the groups behind one link.
const (
	maxInterests = 1 << 15
	maxPattern   = 1 << 10 // bytes, of a group's pattern
)

// attendance is which groups listen to what in this process: at this hub, and
// behind its links to others that announce it. Each hub tells each such peer what it has
// heard from the others, and how far away it is. So all know, also where links
// form circles: what has gone is told on with ever longer ways, and forgotten at
// bus.MaxHops.
type attendance struct {
	mu     sync.Mutex
	known  map[interest]*spread            // guarded by mu: all that has a listener here or is heard of on a link
	behind map[string]map[interest]*spread // guarded by mu: what is heard of on a link, by event ID; "" has those with wildcards
	links  map[*bus.Link]*acquaintance     // guarded by mu
}

// spread is where the listeners of one interest are.
type spread struct {
	pattern pattern.Pattern
	own     int               // here
	from    map[*bus.Link]int // how many links away, by the link on which it is heard of
}

// acquaintance is what one peer has said, and been told: how many links away
// there is a listener.
type acquaintance struct {
	heard  map[interest]struct{}
	told   map[interest]int
	behind bool // it was not told everything
}

func (a *attendance) init() {
	a.known, a.behind = make(map[interest]*spread), make(map[string]map[interest]*spread)
	a.links = make(map[*bus.Link]*acquaintance)
}

// attend tells the peers of a listener that has a group.
func (h *Hub) attend(l *Listener) {
	if in, ok := l.interest(); ok {
		h.attendance.count(in, l.pattern, 1)
	}
}

// absent tells them that there is one less.
func (h *Hub) absent(l *Listener) {
	if in, ok := l.interest(); ok {
		h.attendance.count(in, l.pattern, -1)
	}
}

// interest returns what peers are to know; false if nothing.
func (l *Listener) interest() (interest, bool) {
	text := l.pattern.String()
	return interest{l.opts.Group, text}, l.opts.Group != "" && !isPrivate(text)
}

func (a *attendance) count(in interest, p pattern.Pattern, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.at(in, p)
	was := s.own > 0
	s.own += n
	if was != (s.own > 0) {
		a.tell(in, s)
	}
	a.tidy(in, s)
}

// at returns where the listeners of an interest are. a.mu is held.
func (a *attendance) at(in interest, p pattern.Pattern) *spread {
	s := a.known[in]
	if s == nil {
		s = &spread{pattern: p}
		a.known[in] = s
	}
	return s
}

// tidy forgets an interest that no listener has. a.mu is held.
func (a *attendance) tidy(in interest, s *spread) {
	if s.own == 0 && len(s.from) == 0 {
		delete(a.known, in)
	}
}

// meet notes a link that opens.
func (a *attendance) meet(l *bus.Link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.links[l] = &acquaintance{heard: make(map[interest]struct{}), told: make(map[interest]int)}
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
	for in := range p.heard {
		s := a.known[in]
		a.place(l, in, s, 0)
		a.tell(in, s)
		a.tidy(in, s)
	}
}

// attending takes what a peer says about a group. Only a peer in this process may: a link that leaves it is a border.
func (r *receiver) attending(d *bus.Delivery) {
	in := interest{d.Envelope.Key, d.Envelope.Name}
	p, err := pattern.Parse(in.pattern)
	switch {
	case !r.link.SameProcess():
		err = errors.New("a group that is announced from another process")
	case err != nil:
	case in.group == "" || !isGroup(in.group) || isPrivate(in.pattern) || len(in.pattern) > maxPattern:
		err = errors.New("not a group that can be announced")
	default:
		err = r.h.attendance.hear(r.link, in, p, d.Envelope.Hops)
	}
	if err != nil {
		r.h.refused.Add(1)
		r.link.Reject(d, err)
	}
}

func (a *attendance) hear(l *bus.Link, in interest, pat pattern.Pattern, distance int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.links[l]
	if p == nil {
		return nil
	}
	_, known := p.heard[in]
	switch {
	case !known && distance == 0:
		return nil
	case !known && len(p.heard) >= maxInterests:
		return fmt.Errorf("more than %d groups and patterns are announced", maxInterests)
	case distance == 0:
		delete(p.heard, in)
	default:
		p.heard[in] = struct{}{}
	}
	s := a.at(in, pat)
	if s.from[l] == distance {
		return nil
	}
	a.place(l, in, s, distance)
	a.tell(in, s)
	a.tidy(in, s)
	return nil
}

// place notes how far behind a link an interest is; 0 that it is not. a.mu is held.
func (a *attendance) place(l *bus.Link, in interest, s *spread, distance int) {
	key := in.pattern
	if s.pattern.Wild() {
		key = ""
	}
	if distance > 0 {
		if s.from == nil {
			s.from = make(map[*bus.Link]int)
		}
		s.from[l] = distance
		if a.behind[key] == nil {
			a.behind[key] = make(map[interest]*spread)
		}
		a.behind[key][in] = s
		return
	}
	delete(s.from, l)
	if len(s.from) == 0 {
		delete(a.behind[key], in)
		if len(a.behind[key]) == 0 {
			delete(a.behind, key)
		}
	}
}

// tell brings what the peers know about one interest up to date. a.mu is held,
// so that they hear everything in the order in which it came about.
func (a *attendance) tell(in interest, s *spread) {
	w := s.ways()
	for l, p := range a.links {
		if p.behind {
			a.catchUp(l, p)
			continue
		}
		a.tellPeer(l, p, in, w)
	}
}

// catchUp tells a peer all that it does not know. a.mu is held.
func (a *attendance) catchUp(l *bus.Link, p *acquaintance) {
	p.behind = false
	for in, s := range a.known {
		a.tellPeer(l, p, in, s.ways())
	}
	for in := range p.told {
		if a.known[in] == nil {
			a.tellPeer(l, p, in, (&spread{}).ways())
		}
	}
}

// tellPeer tells a peer about one interest, if there is news. What finds no
// room in the queue is told with the next. a.mu is held.
func (a *attendance) tellPeer(l *bus.Link, p *acquaintance, in interest, w ways) {
	n := w.distance(l)
	if p.behind || p.told[in] == n || !wantsGroups(l) {
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

// wantsGroups reports whether a peer is to know which groups there are: one in this process, or a fleet, that says so.
func wantsGroups(l *bus.Link) bool {
	return l.Understands(bus.CanGroup) && (l.SameProcess() || l.Understands(bus.Shared))
}

// ways are the two shortest ones to a listener.
type ways struct {
	first, second int       // how many links away; bus.MaxHops is too far
	over          *bus.Link // that of the first one leads over; nil if it ends here
}

func (s *spread) ways() ways {
	w := ways{first: bus.MaxHops, second: bus.MaxHops}
	if s.own > 0 {
		w.first = 0
		return w
	}
	for l, n := range s.from {
		switch {
		case n < w.first:
			w.first, w.second, w.over = n, w.first, l
		case n < w.second:
			w.second = n
		}
	}
	return w
}

// distance returns how many links away from the peer of l the nearest listener
// is, that is not behind that peer itself; 0 if there is none.
func (w ways) distance(l *bus.Link) int {
	n := w.first
	if w.over == l {
		n = w.second
	}
	if n >= bus.MaxHops {
		return 0
	}
	return n + 1
}

// serving returns the groups that have listeners for an event here, own, and
// behind the links, each once. It is not nil.
func (a *attendance) serving(event string, own []string) *bus.GroupSet {
	a.mu.Lock()
	defer a.mu.Unlock()
	groups := own
	for in := range a.behind[event] {
		groups = append(groups, in.group)
	}
	for in, s := range a.behind[""] {
		if s.pattern.Match(event) {
			groups = append(groups, in.group)
		}
	}
	if groups == nil {
		return noGroups
	}
	if len(groups) > len(own) {
		slices.Sort(groups)
		groups = slices.Compact(groups)
	}
	set := bus.GroupSet(groups)
	return &set
}
