package payload

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// exact makes the integers of enum and const exact, which the library has read as float64: those of the data are. It refuses
// the bounds that a float64 cannot hold, since the library compares with those, and a multipleOf that nothing is.
func (g *graph) exact(n *node) error {
	if n.MultipleOf != nil && !(*n.MultipleOf > 0) {
		return fmt.Errorf("%s: multipleOf is %v, and has to be more than 0", cmp.Or(n.pointer, "#"), *n.MultipleOf)
	}
	bounded := n.MultipleOf != nil || n.Minimum != nil || n.Maximum != nil || n.ExclusiveMinimum != nil || n.ExclusiveMaximum != nil
	if n.Enum == nil && n.Const == nil && !bounded {
		return nil
	}
	text, _ := valueAt(g.document, n.pointer).(jsonObject)
	for _, keyword := range [...]string{"multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"} {
		if !exactFloat(text[keyword]) && !(keyword == "maximum" && widest(text[keyword])) {
			return fmt.Errorf("%s: %s is %v, which is no float64, and those are what is compared with: take a neighbour that is one", cmp.Or(n.pointer, "#"), keyword, text[keyword])
		}
	}
	if enum, ok := text["enum"].(jsonArray); ok && len(enum) == len(n.Enum) {
		n.Enum, g.changed = enum, true
	}
	if value, ok := text["const"]; ok && n.Const != nil {
		n.Const, g.changed = &value, true
	}
	return nil
}

// exactFloat reports whether a float64 holds an integer as it is. What is no integer of 64 bits is a float64 already.
func exactFloat(v any) bool {
	switch v := v.(type) {
	case int64:
		f := float64(v)
		return f < 1<<63 && int64(f) == v
	case uint64:
		f := float64(v)
		return f < 1<<64 && uint64(f) == v
	}
	return true
}

// widest reports whether v is the largest integer of 64 bits, signed or not, which says that a number is one: the float64 next
// to it says as much.
func widest(v any) bool { return v == int64(math.MaxInt64) || v == uint64(math.MaxUint64) }

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
