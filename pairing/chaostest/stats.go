package chaostest

// Stats count what was done. When nothing is being published,
//
//	Published + Copied = Delivered + Dropped + Lost + Failed + Held
type Stats struct {
	Published uint64 // messages that Publish has taken
	Copied    uint64 // copies made beside them, by Options.Duplicate
	Delayed   uint64 // copies with Options.Delay
	Reordered uint64 // copies with Options.Reorder
	Dropped   uint64 // messages, by Options.Drop
	Lost      uint64 // copies: by a cut, at Options.MaxHeld while the line was held, and at Close
	Failed    uint64 // copies that the wrapped publisher refused
	Delivered uint64 // copies that it took
	Held      uint64 // copies that are held now
}

func (s *Stats) add(t Stats) {
	s.Published += t.Published
	s.Copied += t.Copied
	s.Delayed += t.Delayed
	s.Reordered += t.Reordered
	s.Dropped += t.Dropped
	s.Lost += t.Lost
	s.Failed += t.Failed
	s.Delivered += t.Delivered
	s.Held += t.Held
}
