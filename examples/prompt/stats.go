package prompt

import (
	"context"
	"fmt"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
)

// snapshot is what one registry has counted.
type snapshot struct {
	commands commands.Stats
	events   events.Stats
	links    bus.LinkStats // of all open links together
}

var counters = []struct {
	name string
	of   func(s snapshot) uint64
}{
	{"commands served here", func(s snapshot) uint64 { return uint64(s.commands.Local) }},
	{"commands served elsewhere", func(s snapshot) uint64 { return uint64(s.commands.Remote) }},
	{"requests waiting for a reply", func(s snapshot) uint64 { return uint64(s.commands.Pending) }},
	{"requests being served", func(s snapshot) uint64 { return uint64(s.commands.Serving) }},
	{"events emitted", func(s snapshot) uint64 { return s.events.Emitted }},
	{"events received", func(s snapshot) uint64 { return s.events.Received }},
	{"events dropped", func(s snapshot) uint64 { return s.events.Dropped }},
	{"listeners", func(s snapshot) uint64 { return uint64(s.events.Listeners) }},
	{"messages sent", func(s snapshot) uint64 { return s.links.Sent }},
	{"messages received", func(s snapshot) uint64 { return s.links.Received }},
	{"messages rejected", func(s snapshot) uint64 { return s.links.Rejected }},
}

// stats shows a column for each registry.
func (s *session) stats(context.Context, string) error {
	rows := [][]string{{""}}
	for _, c := range counters {
		rows = append(rows, []string{c.name})
	}
	for _, r := range append([]*commands.Registry{s.registry}, s.others...) {
		rows[0] = append(rows[0], fmt.Sprintf("%8s", r.ID()))
		shot := take(r)
		for i, c := range counters {
			rows[i+1] = append(rows[i+1], fmt.Sprintf("%*d", max(8, len(r.ID())), c.of(shot)))
		}
	}
	return s.show(rows)
}

func take(r *commands.Registry) snapshot {
	s := snapshot{commands: r.Stats(), events: r.Events().Stats()}
	for _, channel := range r.Channels() {
		if l := r.Link(channel); l != nil {
			stats := l.Stats()
			s.links.Sent += stats.Sent
			s.links.Received += stats.Received
			s.links.Rejected += stats.Rejected
		}
	}
	return s
}
