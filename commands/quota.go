package commands

import "fmt"

// holding is what a registry keeps for one peer, or for all: commands that they
// have listed or registered, with what is reserved for them and what others go before.
type holding struct{ commands, bytes int }

// allChannels is how many times what one channel may hold all of them may.
const allChannels = 4

// size is what a command costs by its definition.
func (c *command) size() int {
	n := len(c.def.ID) + len(c.def.Description) + len(c.path)
	if s := c.def.Schema; s != nil {
		n += len(s.Request) + len(s.Response)
	}
	return n
}

// fits reports whether the registry may hold cmd as well, in the place of what
// its peer has under the ID already: old and res may be nil. It counts what does not fit. r.mu is held.
func (r *Registry) fits(cmd, old *command, res *reservation) bool {
	n, bytes := 1, cmd.bytes
	if old != nil {
		n, bytes = n-1, bytes-old.bytes
	}
	if res != nil {
		n, bytes = n-1, bytes-res.cmd.bytes
	}
	if n <= 0 && bytes <= 0 {
		return true
	}
	h, all, cfg := cmd.owner.holds, r.holds, &r.cfg
	if h.commands+n > cfg.MaxCommands || h.bytes+bytes > cfg.MaxCommandBytes ||
		(all.commands+n-1)/allChannels >= cfg.MaxCommands || (all.bytes+bytes-1)/allChannels >= cfg.MaxCommandBytes {
		r.stats.tooMany.Add(1)
		return false
	}
	return true
}

func tooMany(cmd *command) *Error {
	return &Error{Code: Internal, Command: cmd.def.ID, Message: fmt.Sprintf("%s: the channel, or all together, has as many commands as MaxCommands and MaxCommandBytes allow", cmd.def.ID)}
}

// hold counts a command of a peer in, drop counts it out. r.mu is held.
func (r *Registry) hold(cmd *command) { r.count(cmd, 1) }
func (r *Registry) drop(cmd *command) { r.count(cmd, -1) }

func (r *Registry) count(cmd *command, n int) {
	if cmd.owner == nil {
		return
	}
	for _, h := range []*holding{&cmd.owner.holds, &r.holds} {
		h.commands += n
		h.bytes += n * cmd.bytes
	}
}
