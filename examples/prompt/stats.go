package prompt

import (
	"context"
	"fmt"
	"strconv"

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
	t := table{header: []string{""}, right: map[int]bool{}}
	for _, c := range counters {
		t.rows = append(t.rows, []string{c.name})
	}
	for i, r := range append([]*commands.Registry{s.registry}, s.others...) {
		t.header, t.right[i+1] = append(t.header, r.ID()), true
		shot := take(r)
		for j, c := range counters {
			t.rows[j] = append(t.rows[j], strconv.FormatUint(c.of(shot), 10))
		}
	}
	_, err := fmt.Fprint(s.out, t.render(s.width(), s.paint))
	return err
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
