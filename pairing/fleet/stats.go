package fleet

import "sync/atomic"

type fleetCounters struct {
	sent, received, rejected, stale, duplicates, expired, late, rerouted, lost, unsent, unserved, refused, unknown, forged, resubscribed, taken, returned, orphaned, conflicts, incompatible, missed, unconfirmed atomic.Uint64
}

// Stats is a snapshot of what a fleet holds and has counted in this process.
type Stats struct {
	Members  int // other processes
	Commands int // that others serve
	Pending  int // requests of this process's that wait for an answer
	Serving  int // requests of others that are not answered yet
	Queued   int // messages that wait to be published

	Sent         uint64 // messages published
	Received     uint64 // messages received, own ones included
	Rejected     uint64 // of those: malformed, or on a topic where they do not belong
	Forged       uint64 // of those: not signed with a key that is known here; see Options.Keys
	Unknown      uint64 // received, and skipped: of a kind that this version does not know
	Refused      uint64 // processes, commands, groups of listeners and queues beyond what is kept of them; see docs/bounds.md
	Stale        uint64 // of those: from or to an earlier life of a process
	Duplicates   uint64 // requests and events dropped because they had come before
	Expired      uint64 // requests dropped unexecuted, here or there, because their caller had stopped waiting
	Late         uint64 // replies for which no caller waited
	Rerouted     uint64 // requests sent once more, to another process
	Lost         uint64 // calls that failed because their process went away or could not be reached
	Unserved     uint64 // events for a group of which the last listener here had closed, and no other process has one
	Unsent       uint64 // messages that could not be published, or found no room
	Incompatible uint64 // processes that speak no version of the fleet's wire that this one speaks
	Missed       uint64 // requests sent back, since they had come while this process did not run, and their callers may know it as gone
	Unconfirmed  uint64 // when this process left: processes that had not confirmed it, and events meant for it that had not come
	Evicted      uint64 // requests and events forgotten before their time, because DedupeKeys was reached
	Resubscribed uint64 // subscriptions that ended and were made again
	Taken        uint64 // durable requests taken from queues, redelivered ones included
	Returned     uint64 // of those: given back to the queue without an answer
	Orphaned     uint64 // replies to durable requests that were dropped because the caller has gone
	Conflicts    uint64 // pairs of schemas of a command that were announced and do not fit each other; see Fleet.Conflicts
}

// Stats returns the counters. They stay readable after the fleet has ended.
func (f *Fleet) Stats() Stats {
	s := Stats{
		Sent: f.count.sent.Load(), Received: f.count.received.Load(), Rejected: f.count.rejected.Load(),
		Stale: f.count.stale.Load(), Duplicates: f.count.duplicates.Load(), Expired: f.count.expired.Load(),
		Late: f.count.late.Load(), Rerouted: f.count.rerouted.Load(), Lost: f.count.lost.Load(),
		Forged: f.count.forged.Load(), Unknown: f.count.unknown.Load(), Refused: f.count.refused.Load(),
		Unserved: f.count.unserved.Load(), Incompatible: f.count.incompatible.Load(), Missed: f.count.missed.Load(),
		Unconfirmed: f.count.unconfirmed.Load(),
		Unsent:      f.count.unsent.Load(), Resubscribed: f.count.resubscribed.Load(), Taken: f.count.taken.Load(),
		Returned: f.count.returned.Load(), Orphaned: f.count.orphaned.Load(), Conflicts: f.count.conflicts.Load(), Evicted: f.seen.Stats().Evicted + f.heardEvents.Stats().Evicted,
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.members {
		s.Members += count(!m.draining && !m.closing)
	}
	s.Commands, s.Pending, s.Serving = len(f.services), len(f.calls), len(f.serving)+len(f.jobs)
	s.Queued = f.discovery.len() + f.events.len() + f.letters.len()
	for m := range f.boxes {
		s.Queued += m.box.len()
	}
	for _, box := range f.outlets {
		s.Queued += box.len()
	}
	return s
}
