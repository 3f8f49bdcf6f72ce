package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/leatbus/leat/bus"
)

// maxPart bounds the body of a notice about commands, in bytes, as far as single ones do; maxParts the notices that one list
// or view is made of.
const (
	maxPart  = 256 << 10
	maxParts = 1 << 12
)

// catalogue is the body of a change and of a list: Remove and Leave come first, then Add and Join. Entries are kept as they are
// written, since their hashes are what a catalogue is known by, those of fields that this version does not know included.
type catalogue struct {
	// From is the hash of the catalogue that a change follows on.
	From   string            `json:"from,omitempty"`
	Remove []string          `json:"remove,omitempty"`
	Add    []json.RawMessage `json:"add,omitempty"`   // definitions
	Leave  []interest        `json:"leave,omitempty"` // groups, not commands
	Join   []json.RawMessage `json:"join,omitempty"`  // interests
	// Durable are the IDs of those of Add that are.
	Durable []string `json:"durable,omitempty"`

	defs  []bus.Definition // of Add
	joins []interest       // of Join
	bytes int              // of the body
}

// newCatalogue says that these are executed.
func newCatalogue(defs []bus.Definition) catalogue {
	var c catalogue
	for i := range defs {
		c.Add = append(c.Add, encode(&defs[i]))
		if defs[i].Durable {
			c.Durable = append(c.Durable, defs[i].ID)
		}
	}
	c.defs = defs
	return c
}

// newInterests says that there are listeners for these.
func newInterests(all []interest) catalogue {
	var c catalogue
	for i := range all {
		c.Join = append(c.Join, encode(&all[i]))
	}
	c.joins = all
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
	c.bytes = len(data)
	durable := make(map[string]bool, len(c.Durable))
	for _, id := range c.Durable {
		durable[id] = true
	}
	c.defs = make([]bus.Definition, len(c.Add))
	for i, raw := range c.Add {
		def := &c.defs[i]
		if err := json.Unmarshal(raw, def); err != nil {
			return c, fmt.Errorf("commands: %w", err)
		}
		def.Durable = durable[def.ID]
		if err := def.Check(); err != nil {
			return c, fmt.Errorf("commands: %w", err)
		}
		if strings.HasPrefix(def.ID, "_") {
			return c, fmt.Errorf("commands: private ID %.80q", def.ID)
		}
	}
	c.joins = make([]interest, len(c.Join))
	for i, raw := range c.Join {
		if err := json.Unmarshal(raw, &c.joins[i]); err != nil {
			return c, fmt.Errorf("groups: %w", err)
		}
		if _, err := c.joins[i].check(); err != nil {
			return c, err
		}
	}
	return c, nil
}

// readCommands reads the body of a change or a list, before the lock is taken.
func (l *letter) readCommands() (err error) {
	if len(l.body) > maxNoticeBody {
		return fmt.Errorf("commands: %d bytes", len(l.body))
	}
	l.what, err = readCatalogue(l.body)
	return err
}

const (
	// maxKnown bounds what is kept of the commands of all members, in bytes of their definitions; what is kept of lists that are not
	// complete may be as much.
	maxKnown = 256 << 20
	// maxCommands bounds the commands of one member.
	maxCommands = 1 << 18
	// maxSeats bounds the groups and patterns of one member, maxWild those of them with wildcards, which each event is compared with.
	maxSeats = 1 << 15
	maxWild  = 1 << 10
	// maxNoticeBody bounds the body of a notice, in bytes.
	maxNoticeBody = 32 << 20
)

// sum is the hash of one entry of a catalogue. That of the catalogue is all of them, added without carry, so that a change costs what
// it changes, and the order does not count.
type sum [16]byte

func sumOf(what byte, data []byte) (s sum) {
	h := sha256.New()
	h.Write([]byte{what})
	h.Write(data)
	copy(s[:], h.Sum(nil))
	return s
}

func (s *sum) add(other sum) {
	for i := range s {
		s[i] ^= other[i]
	}
}

// kind is a catalogue: the members that have the same one share it. Guarded by Fleet.mu.
type kind struct {
	sum      sum
	known    bool // else it has to be fetched
	commands map[string]bus.Definition
	sums     map[string]sum // of commands
	seats    interests
	seatSums map[interest]sum
	wild     int // of seats: patterns with wildcards
	bytes    int64
	name     string               // hash, as it was announced
	claims   map[*member]struct{} // those that say that it is theirs
	shown    int                  // members whose commands are known to be these
	fetch    fetching
}

func newKind(name string) *kind {
	return &kind{name: name, commands: make(map[string]bus.Definition), sums: make(map[string]sum), seats: make(interests),
		seatSums: make(map[interest]sum), claims: make(map[*member]struct{})}
}

// hash is the name of what is in it: empty if that is nothing.
func (k *kind) hash() string {
	if k.sum == (sum{}) {
		return ""
	}
	return hex.EncodeToString(k.sum[:])
}

// checkHash refuses what is no hash.
func checkHash(hash string) error {
	if _, err := hex.DecodeString(hash); err != nil || hash != "" && len(hash) != 2*len(sum{}) {
		return fmt.Errorf("invalid hash: %.40q", hash)
	}
	return nil
}

// remove takes a command out.
func (k *kind) remove(id string) {
	def, there := k.commands[id]
	if !there {
		return
	}
	k.sum.add(k.sums[id])
	if def.Durable {
		k.sum.add(sumOf('d', []byte(id)))
	}
	k.bytes -= int64(sizeOf(&def))
	delete(k.commands, id)
	delete(k.sums, id)
}

// leave takes a group out.
func (k *kind) leave(in interest) {
	p, there := k.seats[in]
	if !there {
		return
	}
	k.sum.add(k.seatSums[in])
	k.wild -= count(p.Wild())
	delete(k.seats, in)
	delete(k.seatSums, in)
}

// apply changes the catalogue, and reports whether there was room for all of it: at most so many bytes more.
func (k *kind) apply(c *catalogue, room int64) (all bool) {
	all = true
	for _, id := range c.Remove {
		k.remove(id)
	}
	for _, in := range c.Leave {
		k.leave(in)
	}
	had := k.bytes
	for i := range c.defs {
		def := &c.defs[i]
		k.remove(def.ID)
		s := sumOf('c', c.Add[i])
		k.sum.add(s)
		if def.Durable {
			k.sum.add(sumOf('d', []byte(def.ID)))
		}
		n := int64(sizeOf(def))
		if len(k.commands) >= maxCommands || k.bytes+n-had > room {
			all = false
			continue
		}
		k.commands[def.ID], k.sums[def.ID] = *def, s
		k.bytes += n
	}
	for i, in := range c.joins {
		p, err := in.check()
		if err != nil {
			continue
		}
		k.leave(in)
		s := sumOf('g', c.Join[i])
		k.sum.add(s)
		if len(k.seats) >= maxSeats || p.Wild() && k.wild >= maxWild {
			all = false
			continue
		}
		k.seats[in], k.seatSums[in] = p, s
		k.wild += count(p.Wild())
	}
	return all
}
