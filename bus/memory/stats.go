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

// Stats returns the counts as of now. An ack or nack that happened before the
// call is in them. It may be called at any time, also after Close.
func (p *PubSub) Stats() Stats {
	p.mu.RLock()
	defer p.mu.RUnlock()
	total := p.past
	total.Unrouted = p.unrouted.Load()
	for _, t := range p.topics {
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
		total.add(&t.counts)
		t.mu.Unlock()
	}
	return total
}
