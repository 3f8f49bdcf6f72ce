package bus

import "sync/atomic"

type linkCounters struct {
	received, sent, rejected, forged, unsent, dropped, stale, expired, overtaken, slow, noRoom atomic.Uint64
}

// LinkStats counts what happened on a link since it was attached.
type LinkStats struct {
	Received uint64 // messages from the peer
	Sent     uint64 // messages published
	Rejected uint64 // received, but malformed, unknown, oversized, forged or refused by inbound middleware
	Forged   uint64 // of those: not signed with a key that is known here; see Channel.Keys
	Unsent   uint64 // queued, but not published: the publisher failed, the event expired, or the link closed
	Dropped  uint64 // events that were not even queued: the queue was full
	NoRoom   uint64 // answers and control messages that were not even queued: likewise
	Slow     uint64 // times that emitters have given up waiting for room
	Stale    uint64 // received, but sent by or to another life of either side, by no life that is named, or a greeting said twice, and dropped; see Channel.Heartbeat
	Expired  uint64 // requests received after their caller had stopped waiting, and dropped unexecuted
	Queued   int    // messages that wait to be published now

	// Overtaken counts events received and dropped because a later one of their emitter had come over another link.
	Overtaken uint64
}

// Stats returns the counters. They stay readable after the link has ended.
func (l *Link) Stats() LinkStats {
	return LinkStats{
		Received: l.stats.received.Load(),
		Sent:     l.stats.sent.Load() + l.out.mu.gate.Passed(),
		Rejected: l.stats.rejected.Load(),
		Forged:   l.stats.forged.Load(),
		Unsent:   l.stats.unsent.Load(),
		Dropped:  l.stats.dropped.Load(),
		NoRoom:   l.stats.noRoom.Load(),
		Slow:     l.stats.slow.Load(),
		Stale:    l.stats.stale.Load(),
		Expired:  l.stats.expired.Load(),
		Queued:   l.out.len(),

		Overtaken: l.stats.overtaken.Load(),
	}
}

// Stats counts what a bus remembers for dedupe, and what that did.
type Stats struct {
	Links       int    // open links
	Duplicates  uint64 // messages dropped by dedupe
	RequestKeys int    // request IDs remembered now
	EventKeys   int    // event IDs remembered one by one now
	Emitters    int    // buses of which the last event is remembered now
	Overtaken   uint64 // events dropped because a later one of their emitter had come over another link
	Evicted     uint64 // keys and emitters forgotten before their time, because DedupeKeys was reached
	Stalled     uint64 // links closed because their peer took nothing for StallTimeout
}

// Stats returns the counters.
func (b *Bus) Stats() Stats {
	e := b.events.stats()
	s := Stats{
		Duplicates: b.dropped.Load(),
		EventKeys:  e.keys,
		Emitters:   e.emitters,
		Overtaken:  b.overtaken.Load(),
		Evicted:    e.evicted + b.evicted.Load(),
		Stalled:    b.stalled.Load(),
	}
	for _, l := range b.Links() {
		r := l.seen.Stats()
		s.Links++
		s.RequestKeys += r.Keys
		s.Evicted += r.Evicted
	}
	return s
}
