package memory

// Stats count what a [PubSub] has done since New. With several subscriptions
// a message counts once as published, and once for each subscription in all
// other counts. At any time
//
//	messages taken by subscriptions = Acked + DeadLettered + Dropped + Abandoned + Queued + Unacked
type Stats struct {
	Published    uint64 // messages accepted for at least one subscription, dead letters too
	Delivered    uint64 // messages put into output channels, redeliveries too
	Acked        uint64
	Nacked       uint64
	Redelivered  uint64
	DeadLettered uint64 // published to the dead-letter topic, whether or not that has a subscription
	Dropped      uint64 // given up after the last redelivery, without a dead letter
	Abandoned    uint64 // queued or unacked when their subscription ended
	Unrouted     uint64 // published to a topic without a subscription

	Queued  int // waiting in queues now
	Unacked int // delivered or waiting for redelivery now
}

func (s *Stats) add(o *Stats) {
	s.Published += o.Published
	s.Delivered += o.Delivered
	s.Acked += o.Acked
	s.Nacked += o.Nacked
	s.Redelivered += o.Redelivered
	s.DeadLettered += o.DeadLettered
	s.Dropped += o.Dropped
	s.Abandoned += o.Abandoned
}

// total is the topic's counts. t.mu is held.
func (t *topic) total() *Stats {
	s, direct := t.counts, t.mu.gate.Passed()
	s.Published += direct
	s.Delivered += direct
	s.Acked += direct
	return &s
}

// Stats returns the counts as of now. An ack or nack that happened before the
// call is in them. It may be called at any time, also after Close.
func (p *PubSub) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	total := p.past
	total.Unrouted = p.unrouted.Load()
	for t := range p.all() {
		t.mu.Lock()
		for _, s := range t.subs {
			s.reap()
			s.advance()
			total.Queued += s.queue.len()
			total.Unacked += len(s.window)
		}
		for _, c := range t.consumers {
			total.Queued += len(c.queue)
		}
		total.add(t.total())
		t.mu.Unlock()
	}
	return total
}
