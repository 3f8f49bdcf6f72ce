package fleet

import (
	"crypto/sha256"
	"slices"
	"strings"
	"sync"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/compat"
)

// Processes of several versions may serve one command with different schemas: during an upgrade, or by mistake. A call may go
// to any of them. What does not fit then is looked for when a process announces such a command, logged once, and shown.

// Conflict is a command that processes serve with different schemas which do not fit: a call goes to any of them, so that some
// may fail. See docs/design.md, "Commands of several versions".
type Conflict struct {
	Command  string
	Servers  [2][]string // the processes that serve it with the one schema, and those with the other; sorted
	Problems []string    // what the one sends and the other does not take; sorted
}

// maxConflictSchemas bounds the schemas of one command that are compared with each other.
const maxConflictSchemas = 8

// Conflicts returns the commands that others, or this process, serve now with schemas that do not fit, sorted by command.
// Schemas that differ and fit are none, such as those with an optional field more for tolerant servers; nor is what
// internal/compat does not compare.
func (f *Fleet) Conflicts() []Conflict {
	type offer struct {
		def     *bus.Definition
		servers []string
	}
	f.mu.Lock()
	offers := make(map[string][]*offer)
	add := func(def bus.Definition, id string) {
		i := slices.IndexFunc(offers[def.ID], func(o *offer) bool { return sameSchema(o.def, &def) })
		switch {
		case i >= 0:
			offers[def.ID][i].servers = append(offers[def.ID][i].servers, id)
		case len(offers[def.ID]) < maxConflictSchemas:
			offers[def.ID] = append(offers[def.ID], &offer{&def, []string{id}})
		}
	}
	for id, s := range f.services {
		for _, m := range s.servers {
			add(m.shown.commands[id], m.id)
		}
	}
	for _, def := range f.own {
		if f.services[def.ID] != nil {
			add(def, f.self.id)
		}
	}
	f.mu.Unlock()
	var all []Conflict
	for id, some := range offers {
		slices.SortFunc(some, func(a, b *offer) int { return strings.Compare(slices.Min(a.servers), slices.Min(b.servers)) })
		for i, a := range some {
			for _, b := range some[i+1:] {
				if problems := f.versions.problems(a.def, b.def); len(problems) > 0 {
					c := Conflict{Command: id, Servers: [2][]string{slices.Clone(a.servers), slices.Clone(b.servers)}, Problems: problems}
					slices.Sort(c.Servers[0])
					slices.Sort(c.Servers[1])
					all = append(all, c)
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b Conflict) int {
		if c := strings.Compare(a.Command, b.Command); c != 0 {
			return c
		}
		return strings.Compare(a.Servers[0][0]+" "+a.Servers[1][0], b.Servers[0][0]+" "+b.Servers[1][0])
	})
	return all
}

// announced compares what a process says of a command with what is known of it from others. f.mu is held.
func (f *Fleet) announced(from string, def *bus.Definition, fx *effects) {
	others := make([]bus.Definition, 0, 2)
	if s := f.services[def.ID]; s != nil {
		others = append(others, s.def)
	}
	if own, here := f.own[def.ID]; here && from != f.self.id {
		others = append(others, own)
	}
	for _, other := range others {
		if !sameSchema(def, &other) {
			fx.log(func() { f.compareVersions(from, def, &other) })
		}
	}
}

// compareVersions logs once how two schemas of a command differ.
func (f *Fleet) compareVersions(from string, a, b *bus.Definition) {
	if !f.versions.first(a, b) {
		return
	}
	problems := f.versions.problems(a, b)
	if len(problems) == 0 {
		f.log.Info("a command has two schemas, which fit each other", "command", a.ID, "announced by", from)
		return
	}
	f.count.conflicts.Add(1)
	f.log.Warn("a command has two schemas, which do not fit each other: calls may fail, depending on the process that gets them",
		"command", a.ID, "announced by", from, "problems", strings.Join(problems, "; "))
}

// sameSchema reports whether two definitions have the same schemas.
func sameSchema(a, b *bus.Definition) bool {
	return string(requestOf(a)) == string(requestOf(b)) && string(responseOf(a)) == string(responseOf(b))
}

func requestOf(d *bus.Definition) []byte {
	if d.Schema == nil {
		return nil
	}
	return d.Schema.Request
}

func responseOf(d *bus.Definition) []byte {
	if d.Schema == nil {
		return nil
	}
	return d.Schema.Response
}

// versions remembers which schemas were compared, and how that went. The zero value is ready.
type versions struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]*compared // guarded by mu: by the pair
}

// compared is a pair of schemas of a command.
type compared struct {
	noticed  bool
	done     bool
	problems []string
}

// maxCompared bounds the pairs that are remembered. At the bound any of them is forgotten.
const maxCompared = 4096

// pair returns what is known of two definitions. v.mu is held.
func (v *versions) pair(a, b *bus.Definition) *compared {
	x, y := schemaSum(a), schemaSum(b)
	if string(x[:]) > string(y[:]) {
		x, y = y, x
	}
	key := sha256.Sum256(append(append([]byte(a.ID), x[:]...), y[:]...))
	c := v.known[key]
	if c == nil {
		c = new(compared)
		if v.known == nil {
			v.known = make(map[[sha256.Size]byte]*compared)
		}
		for other := range v.known {
			if len(v.known) < maxCompared {
				break
			}
			delete(v.known, other)
		}
		v.known[key] = c
	}
	return c
}

func schemaSum(d *bus.Definition) (sum [sha256.Size]byte) {
	request, response := sha256.Sum256(requestOf(d)), sha256.Sum256(responseOf(d))
	return sha256.Sum256(append(request[:], response[:]...))
}

// first reports whether two schemas are noticed for the first time.
func (v *versions) first(a, b *bus.Definition) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.pair(a, b)
	defer func() { c.noticed = true }()
	return !c.noticed
}

// problems returns why callers of one version may fail at a server of the other.
func (v *versions) problems(a, b *bus.Definition) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.pair(a, b)
	if !c.done {
		c.done, c.problems = true, misfits(a, b)
	}
	return slices.Clone(c.problems)
}

// misfits compares two definitions of a command, both ways.
func misfits(a, b *bus.Definition) (problems []string) {
	for _, pair := range [2][2]*bus.Definition{{a, b}, {b, a}} {
		for _, p := range compat.Misfits(requestOf(pair[0]), requestOf(pair[1]), false) {
			problems = append(problems, "request "+p)
		}
		for _, p := range compat.Misfits(responseOf(pair[0]), responseOf(pair[1]), true) {
			problems = append(problems, "result "+p)
		}
	}
	slices.Sort(problems)
	return slices.Compact(problems)
}
