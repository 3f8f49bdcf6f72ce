package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
)

// snapshot is what is known of one registry.
type snapshot struct {
	commands commands.Stats
	events   events.Stats
	link     bus.LinkStats // to the other one
}

func (r *repl) stats(context.Context, string) error {
	root, worker := take(r.tree.root, "worker"), take(r.tree.worker, "root")
	t := table{
		header: []string{"", r.tree.root.ID(), r.tree.worker.ID()},
		right:  map[int]bool{1: true, 2: true},
	}
	row := func(name string, of func(snapshot) uint64) {
		t.rows = append(t.rows, []string{name, number(of(root)), number(of(worker))})
	}
	row("commands that live here", func(s snapshot) uint64 { return uint64(s.commands.Local) })
	row("commands that live elsewhere", func(s snapshot) uint64 { return uint64(s.commands.Remote) })
	row("requests that wait for an answer", func(s snapshot) uint64 { return uint64(s.commands.Pending) })
	row("requests that are served", func(s snapshot) uint64 { return uint64(s.commands.Serving) })
	row("events emitted", func(s snapshot) uint64 { return s.events.Emitted })
	row("events received", func(s snapshot) uint64 { return s.events.Received })
	row("events dropped", func(s snapshot) uint64 { return s.events.Dropped })
	row("listeners", func(s snapshot) uint64 { return uint64(s.events.Listeners) })
	row("messages sent", func(s snapshot) uint64 { return s.link.Sent })
	row("messages received", func(s snapshot) uint64 { return s.link.Received })
	row("messages rejected", func(s snapshot) uint64 { return s.link.Rejected })
	_, err := fmt.Fprint(r.console.out, t.render(r.console.width(), r.console.paint))
	return err
}

func take(r *commands.Registry, peer string) snapshot {
	s := snapshot{commands: r.Stats(), events: r.Events().Stats()}
	if l := r.Link(peer); l != nil {
		s.link = l.Stats()
	}
	return s
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }
