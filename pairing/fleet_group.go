package pairing

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/pattern"
)

// interest is a pattern of events that a group has a listener for.
type interest struct {
	Group   string `json:"group"`
	Pattern string `json:"pattern"`
}

// interests are those of one process, and what they match.
type interests map[interest]pattern.Pattern

// check returns the pattern, or why it is none that is to be known.
func (in interest) check() (pattern.Pattern, error) {
	if !named(in.Group, "-_.", 128) || strings.HasPrefix(in.Pattern, "_") {
		return pattern.Pattern{}, fmt.Errorf("group %q: invalid, or a private pattern: %q", in.Group, in.Pattern)
	}
	p, err := pattern.Parse(in.Pattern)
	if err != nil {
		return p, fmt.Errorf("group %q: %w", in.Group, err)
	}
	return p, nil
}

// maxInterests bounds those of one notice.
const maxInterests = 512

// listGroups returns the groups of this process as parts of its list. f.mu is held.
func (f *Fleet) listGroups() (parts []catalogue) {
	for some := range slices.Chunk(slices.Collect(maps.Keys(f.attends)), maxInterests) {
		parts = append(parts, catalogue{Join: some})
	}
	return parts
}

// attend takes that the registry has listeners of a group, or has none any more, and tells the others.
func (f *Fleet) attend(in interest, there bool) error {
	if _, err := in.check(); err != nil {
		return err
	}
	f.update(func(*effects) {
		switch {
		case f.attends[in] == there: // it is only nearer, or farther away
		case there:
			f.attends[in] = true
			f.change(catalogue{Join: []interest{in}})
		default:
			delete(f.attends, in)
			f.change(catalogue{Leave: []interest{in}})
		}
	})
	return nil
}

// seating is who else listens in a group, by event ID; "" has the patterns with wildcards.
type seating map[string]map[seat]pattern.Pattern

// seat is one member's interest.
type seat struct {
	interest
	member *member
}

// seat changes what is known of a member's listeners. f.mu is held.
func (f *Fleet) seat(m *member, what catalogue) {
	if what.Clear {
		for in := range m.seats {
			f.seating.remove(seat{in, m}, m.seats[in])
		}
		clear(m.seats)
	}
	for _, in := range what.Leave {
		if p, known := m.seats[in]; known {
			f.seating.remove(seat{in, m}, p)
			delete(m.seats, in)
		}
	}
	for _, in := range what.Join {
		if p, err := in.check(); err == nil {
			f.seating.add(seat{in, m}, p)
			m.seats[in] = p
		}
	}
}

func seatKey(p *pattern.Pattern) string {
	if p.Wild() {
		return ""
	}
	return p.String()
}

func (s seating) add(who seat, p pattern.Pattern) {
	key := seatKey(&p)
	if s[key] == nil {
		s[key] = make(map[seat]pattern.Pattern)
	}
	s[key][who] = p
}

func (s seating) remove(who seat, p pattern.Pattern) {
	key := seatKey(&p)
	if delete(s[key], who); len(s[key]) == 0 {
		delete(s, key)
	}
}

// divide picks a process for each group that has listeners for an event of the registry's, among the others: what this
// process serves itself, the event says. f.mu is held.
func (f *Fleet) divide(e *bus.Envelope) *letter {
	l := &letter{envelope: *e}
	l.envelope.Groups = nil
	if len(f.seating) == 0 || e.Groups == nil { // or the registry did not know yet that it talks to a fleet
		return l
	}
	candidates := make(map[string][]*member)
	add := func(s seat) {
		if all := candidates[s.Group]; !e.Groups.Has(s.Group) && !slices.Contains(all, s.member) {
			candidates[s.Group] = append(all, s.member)
		}
	}
	for s := range f.seating[e.Name] {
		add(s)
	}
	for s, p := range f.seating[""] {
		if p.Match(e.Name) {
			add(s)
		}
	}
	picks := make([]string, 0, len(candidates))
	for group, members := range candidates {
		picks = append(picks, group+"="+members[rand.IntN(len(members))].session)
	}
	l.picks = strings.Join(picks, ",")
	return l
}

// checkPicks refuses what divide cannot have written.
func checkPicks(picks string) error {
	if picks == "" {
		return nil
	}
	for pick := range strings.SplitSeq(picks, ",") {
		if group, who, _ := strings.Cut(pick, "="); !named(group, "-_.", 128) || who == "" {
			return fmt.Errorf("no group and session: %q", pick)
		}
	}
	return nil
}

// picked returns the groups for which the picks name the session: never nil, since it is decided.
func picked(picks, session string) *bus.GroupSet {
	if picks == "" {
		return nobody
	}
	var groups bus.GroupSet
	for pick := range strings.SplitSeq(picks, ",") {
		if group, who, ok := strings.Cut(pick, "="); ok && who == session {
			groups = append(groups, group)
		}
	}
	return &groups
}

var nobody = new(bus.GroupSet)

// groups returns the names of the groups that a member has listeners of, sorted.
func (m *member) groups() []string {
	names := make([]string, 0, len(m.seats))
	for in := range m.seats {
		names = append(names, in.Group)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
