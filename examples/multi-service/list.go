package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/leatbus/leat/commands"
)

func (r *repl) list(context.Context, string) error {
	t := table{
		header: []string{"#", "ID", "DESCRIPTION", "REQUEST", "RESPONSE", "WHERE"},
		right:  map[int]bool{0: true},
		shrink: []int{2, 3, 4}, // the ID is there to be typed
	}
	for i, c := range r.root.Commands() {
		t.rows = append(t.rows, []string{
			strconv.Itoa(i + 1), c.ID, c.Description, shape(c.Request), shape(c.Response), r.home(c),
		})
	}
	_, err := fmt.Fprint(r.console.out, t.render(r.console.width(), r.console.paint))
	return err
}

func shape(raw json.RawMessage) string {
	if raw == nil {
		return "nothing"
	}
	return readSchema(raw).String()
}

// home names the registry that a command is called in.
func (r *repl) home(c commands.Info) string {
	if c.Channel == "" {
		return r.root.ID()
	}
	return c.Channel
}

// lookup returns the command with that ID, or with that number in the list;
// nil if there is none.
func (r *repl) lookup(ref string) *commands.Info {
	infos := r.root.Commands()
	for i := range infos {
		if infos[i].ID == ref {
			return &infos[i]
		}
	}
	if n, err := strconv.Atoi(ref); err == nil && n >= 1 && n <= len(infos) {
		return &infos[n-1]
	}
	return nil
}

func (r *repl) ids() []string {
	infos := r.root.Commands()
	ids := make([]string, len(infos))
	for i, c := range infos {
		ids[i] = c.ID
	}
	return ids
}
