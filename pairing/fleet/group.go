package fleet

import (
	"fmt"
	"math/rand/v2"
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
	if !named(in.Group, "-_.", 128) || strings.HasPrefix(in.Pattern, "_") || len(in.Pattern) > maxPattern {
		return pattern.Pattern{}, fmt.Errorf("group %q: invalid, or a private pattern: %q", in.Group, in.Pattern)
	}
	p, err := pattern.Parse(in.Pattern)
	if err != nil {
		return p, fmt.Errorf("group %q: %w", in.Group, err)
	}
	return p, nil
}

// maxPattern bounds the length of a pattern, in bytes.
const maxPattern = 1024

// maxInterests bounds those of one notice.
const maxInterests = 512

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
			f.change(newInterests([]interest{in}))
		default:
			delete(f.attends, in)
			f.change(catalogue{Leave: []interest{in}})
		}
	})
	return nil
}

// seating is who else listens in a group, by event ID; "" has the patterns with wildcards.
type seating map[string]map[interest]*bench

// bench is the members that have one interest.
type bench struct {
	pattern pattern.Pattern
	members []*member
	places  map[*member]int
}

// unseat notes that a member has no listeners for it any more. f.mu is held.
func (f *Fleet) unseat(m *member, in interest) {
	if p, err := in.check(); err == nil {
		f.seating.remove(in, m, p)
	}
}

// count is 1 for true.
func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

func seatKey(p *pattern.Pattern) string {
	if p.Wild() {
		return ""
	}
	return p.String()
}

func (s seating) add(in interest, m *member, p pattern.Pattern) {
	key := seatKey(&p)
	if s[key] == nil {
		s[key] = make(map[interest]*bench)
	}
	b := s[key][in]
	if b == nil {
		b = &bench{pattern: p, places: make(map[*member]int)}
		s[key][in] = b
	}
	if _, there := b.places[m]; !there {
		b.places[m] = len(b.members)
		b.members = append(b.members, m)
	}
}

func (s seating) remove(in interest, m *member, p pattern.Pattern) {
	key := seatKey(&p)
	b := s[key][in]
	if b == nil {
		return
	}
	if i, there := b.places[m]; there {
		last := len(b.members) - 1
		b.members[i] = b.members[last]
		b.places[b.members[i]] = i
		b.members = b.members[:last]
		delete(b.places, m)
	}
	if len(b.members) > 0 {
		return
	}
	if delete(s[key], in); len(s[key]) == 0 {
		delete(s, key)
	}
}

// divide picks a process for each group that has listeners for an event of the registry's, among the others: what this
// process serves itself, the event says. f.mu is held.
func (f *Fleet) divide(e *bus.Envelope) *letter {
	l := &letter{envelope: *e}
	l.envelope.Groups = nil
	if e.Groups == nil || len(f.seating) == 0 && !e.Only { // or the registry did not know yet that it talks to a fleet
		return l
	}
	candidates := make(map[string][]*bench)
	for in, b := range f.seating[e.Name] {
		candidates[in.Group] = append(candidates[in.Group], b)
	}
	for in, b := range f.seating[""] {
		if b.pattern.Match(e.Name) {
			candidates[in.Group] = append(candidates[in.Group], b)
		}
	}
	picks := make([]string, 0, len(candidates))
	has := e.Groups.Lookup()
	for group, benches := range candidates {
		if has(group) == e.Only {
			m := pickFrom(benches)
			m.picked = e.ID
			picks = append(picks, group+"="+m.session)
		}
	}
	if e.Only {
		f.count.unserved.Add(uint64(len(*e.Groups) - len(picks)))
	}
	l.picks = strings.Join(picks, ",")
	return l
}

// pickFrom returns one of the members, each as likely as the others, however many of their patterns match.
func pickFrom(benches []*bench) *member {
	if len(benches) == 1 {
		return benches[0].members[rand.IntN(len(benches[0].members))]
	}
	var all []*member
	seen := make(map[*member]bool)
	for _, b := range benches {
		for _, m := range b.members {
			if !seen[m] {
				seen[m] = true
				all = append(all, m)
			}
		}
	}
	return all[rand.IntN(len(all))]
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
