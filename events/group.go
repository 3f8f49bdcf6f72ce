package events

import (
	"errors"
	"slices"
	"sync/atomic"

	"github.com/leatbus/leat/bus"
)

// group is the listeners of one name at one hub.
type group struct {
	name string
	all  crowd
	turn atomic.Uint64 // whose turn it is

	members []*Listener // guarded by Bus.sequence: those that an event is for, while it is divided; else empty
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

// joinGroup puts a listener into its group, if it has one. h.mu is held.
func (h *Hub) joinGroup(l *Listener) {
	name := l.opts.Group
	if name == "" {
		return
	}
	g := h.groups[name]
	if g == nil {
		g = &group{name: name, all: crowd{of: ofGroup}}
		h.groups[name] = g
	}
	g.all.add(l)
	l.group = g
}

// leaveGroup undoes it. h.mu is held.
func (h *Hub) leaveGroup(l *Listener) {
	if l.group == nil {
		return
	}
	if l.group.all.remove(l); len(l.group.all.list) == 0 {
		delete(h.groups, l.group.name)
	}
}

// divide queues the event with one of the listeners of each group that it is
// for, and returns these groups if they are wanted. Each of the listeners has one. Bus.sequence is held.
func (h *Hub) divide(ev *event, listeners []*Listener, wanted bool) (served []string) {
	is := ev.groups.Lookup()
	groups := h.dividing[:0]
	for _, l := range listeners {
		if len(l.group.members) == 0 {
			groups = append(groups, l.group)
		}
		l.group.members = append(l.group.members, l)
	}
	for _, g := range groups {
		if is(g.name) {
			g.next(g.members).push(item{event: ev})
			if wanted {
				served = append(served, g.name)
			}
		}
		clear(g.members)
		g.members = g.members[:0]
	}
	clear(groups)
	h.dividing = groups[:0]
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

// decides reports whether it is decided here which groups the event is for: there is a fleet, and it is not decided yet.
func (h *Hub) decides(ev *event) bool {
	return ev.groups == nil && slices.ContainsFunc(h.bus.Links(), (*bus.Link).Shared)
}

// noGroups is that an event is for none.
var noGroups = new(bus.GroupSet)

// decide returns the groups that the event is for in this process; nil while
// it is not decided. Where there is a fleet, it is decided here: what this
// process serves, given served, the fleet gives to no other process; and what this
// hub does not know of is not served here, since the fleet may give it to others.
func (h *Hub) decide(ev *event, served []string) *bus.GroupSet {
	if ev.decide {
		return h.attendance.serving(ev.name, served)
	}
	return ev.groups
}

// missed hands an event back to the fleet for the groups for which this process was picked, and that have no listener in
// it any more: the last one has closed while the event was on its way. The fleet picks another process, if it knows one. served
// are the groups of this hub's own listeners; there may be others behind its links. The sequence is held.
func (r *receiver) missed(ev *event, served []string) {
	h := r.h
	here := h.attendance.serving(ev.name, served).Lookup()
	var missing bus.GroupSet
	for _, name := range *ev.groups {
		if !here(name) {
			missing = append(missing, name)
		}
	}
	if missing == nil {
		return
	}
	err := h.giveBack(r.link, ev, missing)
	if err == nil {
		return
	}
	if n := h.unserved.Add(uint64(len(missing))); n&(n-1) == 0 {
		go h.log.Warn("event for a group dropped, its last listener here has closed", "event", ev.name, "group", missing[0], "unserved", n, "error", err.Error())
	}
}

// giveBack lets a fleet pick other processes for groups that an event was to be served for here.
func (h *Hub) giveBack(fleet *bus.Link, ev *event, groups bus.GroupSet) error {
	if ev.hops >= bus.MaxHops {
		return errSpent
	}
	err := fleet.Send(bus.Envelope{Type: bus.Event, Name: ev.name, Body: ev.json(), Depth: int(ev.depth), Hops: ev.hops + 1,
		Metadata: ev.metadata, Groups: &groups, Only: true, Checked: true})
	if err == nil {
		h.passed.Add(uint64(len(groups)))
	}
	return err
}

// passOn gives an event that is left of the last listener of a group to the fleet, if there is one, and reports whether it did.
func (h *Hub) passOn(l *Listener, ev *event) bool {
	if l.group == nil || isPrivate(ev.name) || h.bus.Draining() {
		return false
	}
	for _, link := range h.bus.Links() {
		if link.Shared() && h.giveBack(link, ev, bus.GroupSet{l.group.name}) == nil {
			return true
		}
	}
	return false
}

var errSpent = errors.New("it has been forwarded too often")

// groupsFor returns what an event says about groups on a link. Beyond one that
// leaves the process, and not to a fleet, every registry is its own.
func groupsFor(l *bus.Link, groups *bus.GroupSet) *bus.GroupSet {
	if l.SameProcess() || l.Shared() {
		return groups
	}
	return nil
}
