package commands

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/payload"
)

// command is one row of the routing table. Immutable once it is in the table.
type command struct {
	def        bus.Definition
	owner      *peer // where it is executed; nil is here
	registered bool  // remote: the peer registered it, and it is escalated; else it was only listed

	handler handler // local
	typed   any     // local: func(context.Context, Req) (Res, error), where nothing but the types decides what fits
}

// handler executes a command. With asIs set the result may come as a value.
type handler func(ctx context.Context, request payload.Content, asIs bool, inv *invocation) (payload.Content, error)

// shared reports whether the command may be executed in several places, so that one more can register it: it is
// reached through a peer that stands for many.
func (c *command) shared() bool { return c.owner != nil && c.owner.link.Understands(bus.Shared) }

func isPrivate(id string) bool { return strings.HasPrefix(id, "_") }

// lookup returns what the table says about a command, or nil. It takes no lock.
func (r *Registry) lookup(id string) *command {
	if v, ok := r.table.Load(id); ok {
		return v.(*command)
	}
	return nil
}

// install puts cmd into the table. r.mu is held.
func (r *Registry) install(cmd *command) {
	if old := r.lookup(cmd.def.ID); old != nil && old.owner != nil && old.owner != cmd.owner {
		delete(old.owner.owned, cmd.def.ID)
		r.cover(old)
	}
	r.table.Store(cmd.def.ID, cmd)
	if cmd.owner != nil {
		cmd.owner.owned[cmd.def.ID] = struct{}{}
	}
}

// remove takes cmd out of the table. r.mu is held.
func (r *Registry) remove(cmd *command) {
	r.table.Delete(cmd.def.ID)
	if cmd.owner != nil {
		delete(cmd.owner.owned, cmd.def.ID)
	}
	r.uncover(cmd.def.ID)
}

// cover keeps a shared command that another one goes before. r.mu is held.
func (r *Registry) cover(cmd *command) {
	if cmd.shared() {
		r.covered[cmd.def.ID] = cmd
	}
}

// uncover gives a shared command the place that it lost to one which is gone now. r.mu is held.
func (r *Registry) uncover(id string) {
	if cmd := r.covered[id]; cmd != nil {
		delete(r.covered, id)
		r.install(cmd)
	}
}

// Info describes a command that can be executed.
type Info struct {
	ID          string
	Description string
	Request     json.RawMessage // JSON Schema; nil when there is none
	Response    json.RawMessage // JSON Schema; nil when there is none
	Channel     string          // the channel it is reached through; empty for a local command
	Durable     bool            // its requests go through a queue; see [Options]
}

// Commands returns the commands that this registry knows, private ones
// included, sorted by ID. What its router may know besides is not listed.
func (r *Registry) Commands() []Info {
	var infos []Info
	r.table.Range(func(_, v any) bool {
		cmd := v.(*command)
		info := Info{ID: cmd.def.ID, Description: cmd.def.Description, Durable: cmd.def.Durable}
		if cmd.def.Schema != nil {
			info.Request, info.Response = cmd.def.Schema.Request, cmd.def.Schema.Response
		}
		if cmd.owner != nil {
			info.Channel = cmd.owner.link.ID()
		}
		infos = append(infos, info)
		return true
	})
	slices.SortFunc(infos, func(a, b Info) int { return strings.Compare(a.ID, b.ID) })
	return infos
}

// public returns the definitions of the local commands that peers may know of.
func (r *Registry) public() []bus.Definition {
	defs := []bus.Definition{}
	r.table.Range(func(_, v any) bool {
		if cmd := v.(*command); cmd.owner == nil && !isPrivate(cmd.def.ID) {
			defs = append(defs, cmd.def)
		}
		return true
	})
	slices.SortFunc(defs, func(a, b bus.Definition) int { return strings.Compare(a.ID, b.ID) })
	return defs
}
