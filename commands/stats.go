package commands

import (
	"sync/atomic"

	"github.com/leatbus/leat/bus"
)

type counters struct {
	late, refused, overdue, unlisted, forwarded, loops, conflicts, evicted, tooMany, replaced, panics atomic.Uint64
}

// Stats is a snapshot of what a registry holds and has counted.
type Stats struct {
	Bus bus.Stats

	Local    int // commands executed here
	Remote   int // commands reached through channels
	Pending  int // requests sent or forwarded that wait for an answer
	Serving  int // requests received that are not answered yet
	Held     int // bytes of those, and of handlers that their callers have left; see Config.MaxHeldBytes
	Waiting  int // of those: in the backlog, because MaxInFlight handlers run
	Reserved int // registrations that wait for the router

	Unsynced    int // public commands, served here or registered by children, that the router has not acknowledged; 0 for a root
	Conflicting int // of those: refused because another registry has the ID; they are tried again, every 4 s at least

	Unlisted  uint64 // requests for the list of commands that were dropped, because others of that peer waited already
	Forwarded uint64 // requests sent on for other registries
	Refused   uint64 // requests refused because MaxBacklog, MaxForwarded or MaxHeldBytes was reached
	Overdue   uint64 // forwarded requests given up after RequestTTL, for want of room or to shut down
	Loops     uint64 // requests ended because they went in a circle
	Late      uint64 // replies for which no caller waited
	Conflicts uint64 // commands that a peer listed and that another owns, or that the router refused because another has the ID
	TooMany   uint64 // commands that a peer listed or registered in vain, because of MaxCommands or MaxCommandBytes
	Evicted   uint64 // commands forgotten because their peer did not have them
	Replaced  uint64 // replies that could not be sent, or found no room, and were replaced by an error
	Panics    uint64 // handlers that panicked
}

// Stats returns a snapshot. It takes the locks of all links one by one: it is
// for people and tests, not for the hot path.
func (r *Registry) Stats() Stats {
	s := Stats{
		Bus:       r.bus.Stats(),
		Forwarded: r.stats.forwarded.Load(),
		Refused:   r.stats.refused.Load(),
		Overdue:   r.stats.overdue.Load(),
		Unlisted:  r.stats.unlisted.Load(),
		Loops:     r.stats.loops.Load(),
		Late:      r.stats.late.Load(),
		Conflicts: r.stats.conflicts.Load(),
		TooMany:   r.stats.tooMany.Load(),
		Evicted:   r.stats.evicted.Load(),
		Replaced:  r.stats.replaced.Load(),
		Panics:    r.stats.panics.Load(),
	}
	r.table.Range(func(_, v any) bool {
		if v.(*command).owner == nil {
			s.Local++
		} else {
			s.Remote++
		}
		return true
	})
	r.mu.Lock()
	s.Reserved = len(r.reserved)
	s.Unsynced, s.Conflicting = r.unsynced()
	peers := make([]*peer, 0, len(r.peers))
	for _, p := range r.peers {
		peers = append(peers, p)
	}
	r.mu.Unlock()
	for _, p := range peers {
		s.Pending += p.out.len()
		p.mu.Lock()
		s.Serving += p.in.len()
		s.Waiting += p.waiting
		s.Held += p.held
		p.mu.Unlock()
	}
	return s
}

// unsynced counts what the router has not acknowledged. r.mu is held.
func (r *Registry) unsynced() (n, conflicting int) {
	router := r.router.Load()
	if router != nil {
		for id, c := range router.up.claims {
			if want := router.up.wanted(id); want != nil && !want.same(c.acked) {
				n++
			}
		}
		return n, router.up.conflicts
	}
	if r.cfg.RouterChannel != "" {
		r.table.Range(func(_, v any) bool {
			if cmd := v.(*command); !isPrivate(cmd.def.ID) && (cmd.owner == nil || cmd.registered) {
				n++
			}
			return true
		})
	}
	return n, 0
}
