package events

import (
	"slices"
	"sync/atomic"

	"github.com/leatbus/leat/bus"
)

// group is the listeners of one name at one hub.
type group struct {
	name string
	size int           // guarded by Hub.mu: how many there are
	turn atomic.Uint64 // whose turn it is
}

// isGroup reports whether s can be a group's name, or is empty.
func isGroup(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return len(s) <= 128
}

// joinGroup returns the group of that name, with a listener more; nil for the
// empty name. h.mu is held.
func (h *Hub) joinGroup(name string) *group {
	if name == "" {
		return nil
	}
	g := h.groups[name]
	if g == nil {
		g = &group{name: name}
		h.groups[name] = g
	}
	g.size++
	return g
}

// leaveGroup undoes it. h.mu is held.
func (h *Hub) leaveGroup(g *group) {
	if g == nil {
		return
	}
	if g.size--; g.size == 0 {
		delete(h.groups, g.name)
	}
}

// divide queues the event with one of the listeners of each group that it is
// for, and returns these groups. Each of the listeners has one.
func (ev *event) divide(listeners []*Listener) (served []string) {
	for i, l := range listeners {
		g := l.group
		of := func(o *Listener) bool { return o.group == g }
		if slices.ContainsFunc(listeners[:i], of) || !ev.groups.Has(g.name) {
			continue
		}
		members := make([]*Listener, 0, len(listeners)-i)
		for _, o := range listeners[i:] {
			if of(o) {
				members = append(members, o)
			}
		}
		g.next(members).push(item{event: ev})
		served = append(served, g.name)
	}
	return served
}

// next returns the listener whose turn it is; or the next one that has room, if
// there is one.
func (g *group) next(members []*Listener) *Listener {
	turn := int((g.turn.Add(1) - 1) % uint64(len(members)))
	for i := range members {
		if l := members[(turn+i)%len(members)]; l.hasRoom() {
			return l
		}
	}
	return members[turn]
}

// dividing is what a fleet understands: it gives each group to one process.
const dividing = bus.CanGroup | bus.Shared

// noGroups is that an event is for none.
var noGroups = new(bus.GroupSet)

// decide returns the groups that the event is for in this process; nil while
// nobody wants to know. Where there is a fleet, it is decided here: what this
// process serves, given served, the fleet gives to nobody else; and what this
// hub does not know of is not served here, since the fleet may give it to others.
func (h *Hub) decide(ev *event, served []string) *bus.GroupSet {
	if ev.groups != nil {
		return ev.groups
	}
	for _, l := range h.bus.Links() {
		if l.Understands(dividing) {
			return h.attendance.serving(ev.name, served)
		}
	}
	return nil
}

// groupsFor returns what an event says about groups on a link. Beyond one that
// leaves the process, and not to a fleet, every registry is its own.
func groupsFor(l *bus.Link, groups *bus.GroupSet) *bus.GroupSet {
	if l.SameProcess() || l.Understands(bus.CanGroup) {
		return groups
	}
	return nil
}
