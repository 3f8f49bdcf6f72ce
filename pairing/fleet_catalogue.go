package pairing

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/leatbus/leat/bus"
)

// maxPart bounds the body of a notice about commands, in bytes, as far as single ones do; maxParts the notices that one list
// is made of.
const (
	maxPart  = 256 << 10
	maxParts = 1 << 12
)

// catalogue is the body of a change and of a list: Clear comes first, then Remove and Leave, then Add and Join.
type catalogue struct {
	Clear  bool             `json:"clear,omitempty"`
	Remove []string         `json:"remove,omitempty"`
	Add    []bus.Definition `json:"add,omitempty"`
	Leave  []interest       `json:"leave,omitempty"` // groups, not commands
	Join   []interest       `json:"join,omitempty"`
	// Durable are the IDs of those of Add that are.
	Durable []string `json:"durable,omitempty"`
}

// newCatalogue says that these are executed.
func newCatalogue(defs []bus.Definition) catalogue {
	c := catalogue{Add: defs}
	for _, def := range defs {
		if def.Durable {
			c.Durable = append(c.Durable, def.ID)
		}
	}
	return c
}

// split cuts definitions into lists whose JSON stays within maxPart, as far as single ones do. It returns at least one.
func split(defs []bus.Definition) [][]bus.Definition {
	var parts [][]bus.Definition
	size, start := 0, 0
	for i := range defs {
		n := sizeOf(&defs[i])
		if size+n > maxPart && i > start {
			parts = append(parts, defs[start:i])
			size, start = 0, i
		}
		size += n
	}
	return append(parts, defs[start:])
}

// sizeOf bounds the JSON of a definition, but for what has to be escaped.
func sizeOf(d *bus.Definition) int {
	n := 2*len(d.ID) + len(d.Description) + 64
	if d.Schema != nil {
		n += len(d.Schema.Request) + len(d.Schema.Response) + 64
	}
	return n
}

// encode is json.Marshal for what always encodes: definitions were decoded before.
func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic("pairing: " + err.Error())
	}
	return data
}

// readCatalogue reads the body of a change or list. What this version does not know is skipped.
func readCatalogue(data []byte) (c catalogue, err error) {
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("commands: %w", err)
	}
	durable := make(map[string]bool, len(c.Durable))
	for _, id := range c.Durable {
		durable[id] = true
	}
	for i, def := range c.Add {
		c.Add[i].Durable = durable[def.ID]
		if err := def.Check(); err != nil {
			return c, fmt.Errorf("commands: %w", err)
		}
		if strings.HasPrefix(def.ID, "_") {
			return c, fmt.Errorf("commands: private ID %.80q", def.ID)
		}
	}
	for _, in := range c.Join {
		if _, err := in.check(); err != nil {
			return c, err
		}
	}
	return c, nil
}
