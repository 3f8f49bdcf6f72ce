package commands

import (
	"bytes"
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
	path       path  // remote: the registries that it was registered through
	bytes      int   // remote: what it counts for, see holding

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

// same reports whether a router that has been told one has been told the other. Neither is changed.
func (c *command) same(o *command) bool {
	switch {
	case c == o:
		return true
	case c == nil || o == nil || c.path != o.path || c.def.Durable != o.def.Durable || c.def.ID != o.def.ID || c.def.Description != o.def.Description:
		return false
	}
	a, b := c.def.Schema, o.def.Schema
	return a == b || a != nil && b != nil && bytes.Equal(a.Request, b.Request) && bytes.Equal(a.Response, b.Response)
}

// install puts cmd into the table. r.mu is held.
func (r *Registry) install(cmd *command) {
	if old := r.lookup(cmd.def.ID); old != nil && old.owner != nil {
		r.drop(old)
		if old.owner != cmd.owner {
			delete(old.owner.owned, cmd.def.ID)
			r.cover(old)
		}
	}
	r.table.Store(cmd.def.ID, cmd)
	if cmd.owner != nil {
		cmd.owner.owned[cmd.def.ID] = struct{}{}
		r.hold(cmd)
	}
	r.touch(cmd.def.ID)
}

// remove takes cmd out of the table. r.mu is held.
func (r *Registry) remove(cmd *command) {
	r.table.Delete(cmd.def.ID)
	if cmd.owner != nil {
		delete(cmd.owner.owned, cmd.def.ID)
		r.drop(cmd)
	} else if router := r.router.Load(); router != nil {
		router.up.listed(cmd.def.ID)
	}
	r.touch(cmd.def.ID)
	r.uncover(cmd.def.ID)
}

// touch makes the router's uplink look at an ID. r.mu is held; converge is to be called when it is free.
func (r *Registry) touch(id string) {
	if router := r.router.Load(); router != nil {
		router.up.look(id)
	}
}

// cover keeps a shared command that another one goes before. r.mu is held.
func (r *Registry) cover(cmd *command) {
	if cmd.shared() {
		r.dropCovered(cmd.def.ID)
		r.covered[cmd.def.ID] = cmd
		r.hold(cmd)
	}
}

// dropCovered forgets a shared command that is covered. r.mu is held.
func (r *Registry) dropCovered(id string) {
	if cmd := r.covered[id]; cmd != nil {
		delete(r.covered, id)
		r.drop(cmd)
	}
}

// uncover gives a shared command the place that it lost to one which is gone now. r.mu is held.
func (r *Registry) uncover(id string) {
	if cmd := r.covered[id]; cmd != nil {
		r.dropCovered(id)
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
	cmds := r.sorted(func(*command) bool { return true })
	infos := make([]Info, len(cmds))
	for i, cmd := range cmds {
		info := &infos[i]
		info.ID, info.Description, info.Durable = cmd.def.ID, cmd.def.Description, cmd.def.Durable
		if cmd.def.Schema != nil {
			info.Request, info.Response = cmd.def.Schema.Request, cmd.def.Schema.Response
		}
		if cmd.owner != nil {
			info.Channel = cmd.owner.link.ID()
		}
	}
	return infos
}

// sorted returns rows of the table by ID.
func (r *Registry) sorted(which func(*command) bool) []*command {
	var cmds []*command
	r.table.Range(func(_, v any) bool {
		if cmd := v.(*command); which(cmd) {
			cmds = append(cmds, cmd)
		}
		return true
	})
	slices.SortFunc(cmds, func(a, b *command) int { return strings.Compare(a.def.ID, b.def.ID) })
	return cmds
}

// public returns the definitions of the local commands that peers may know of.
func (r *Registry) public() []bus.Definition {
	cmds := r.sorted(func(cmd *command) bool { return cmd.owner == nil && !isPrivate(cmd.def.ID) })
	defs := make([]bus.Definition, len(cmds))
	for i, cmd := range cmds {
		defs[i] = cmd.def
	}
	return defs
}
