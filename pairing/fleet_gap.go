package pairing

import (
	"maps"
	"slices"

	"github.com/leatbus/leat/bus"
)

// A subscription that has ended and was made again may have missed messages: with a broker that keeps nothing while
// the connection is broken, it has. In the inbox those are replies to calls of this process, which wait in vain, and
// requests of others, which wait in vain too: they are told by the next beat.

// gapped ends the calls of this process that may have been answered meanwhile, and tells the others.
func (f *Fleet) gapped() {
	f.update(func(fx *effects) {
		f.gaps++
		if f.err != nil || !f.isReady() {
			return
		}
		f.beat()
		f.giveUp(slices.Collect(maps.Values(f.calls)), fx)
	})
}

// hasGaps notes how often a member's inbox may have lost something, as it has said when it was asked. f.mu is held.
func (f *Fleet) hasGaps(m *member, gaps int64, fx *effects) {
	if m.gaps >= 0 && gaps > m.gaps {
		f.giveUp(slices.Collect(maps.Values(m.calls)), fx)
	}
	m.gaps = gaps
}

// giveUp gives up calls that were not answered: fails them, or sends them to another process where that may be. What has not
// been published yet will be, and stays. f.mu is held.
func (f *Fleet) giveUp(calls []*call, fx *effects) {
	for _, c := range calls {
		if !c.published.Load() {
			continue
		}
		if c.to == nil { // it was in a queue: it is executed, and its caller does not know
			f.count.lost.Add(1)
			f.settle(c, response(c.letter.envelope.ID, disconnected(f.opts.Channel)), fx)
			continue
		}
		f.post(c.to, &letter{envelope: bus.Envelope{Type: bus.Cancel, Thread: c.letter.envelope.ID}})
		f.reroute(c, disconnected(f.opts.Channel), false, fx)
	}
}
