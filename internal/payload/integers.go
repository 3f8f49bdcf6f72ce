package payload

import (
	"strconv"
	"strings"
)

// exact makes the integers of enum and const exact, which the library has read as float64: those of the data are.
func (g *graph) exact(n *node) {
	if n.Enum == nil && n.Const == nil {
		return
	}
	text, _ := valueAt(g.document, n.pointer).(jsonObject)
	if enum, ok := text["enum"].(jsonArray); ok && len(enum) == len(n.Enum) {
		n.Enum, g.changed = enum, true
	}
	if value, ok := text["const"]; ok && n.Const != nil {
		n.Const, g.changed = &value, true
	}
}

// valueAt returns what a JSON pointer leads to, nil if it leads nowhere.
func valueAt(v any, pointer string) any {
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if pointer == "" {
			break
		}
		switch parent := v.(type) {
		case jsonObject:
			v = parent[strings.NewReplacer("~1", "/", "~0", "~").Replace(token)]
		case jsonArray:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(parent) {
				return nil
			}
			v = parent[i]
		default:
			return nil
		}
	}
	return v
}
