package prompt

import (
	"cmp"
	"context"
	"encoding/json"
	"strconv"

	"github.com/leatbus/leat/commands"
)

func (s *session) list(context.Context, string) error {
	rows := [][]string{{"#", "ID", "DESCRIPTION", "REQUEST", "RESPONSE", "WHERE"}}
	for i, c := range s.registry.Commands() {
		where := cmp.Or(c.Channel, s.registry.ID())
		rows = append(rows, []string{strconv.Itoa(i + 1), c.ID, c.Description, shape(c.Request), shape(c.Response), where})
	}
	return s.show(rows, 2, 3, 4) // the ID is there to be typed
}

func shape(schema json.RawMessage) string {
	if schema == nil {
		return "nothing"
	}
	return describe(readSchema(schema))
}

// lookup returns the command with that ID, or with that number in the list; nil if there is none.
func (s *session) lookup(ref string) *commands.Info {
	infos := s.registry.Commands()
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

func (s *session) ids() []string {
	infos := s.registry.Commands()
	ids := make([]string, len(infos))
	for i, c := range infos {
		ids[i] = c.ID
	}
	return ids
}
