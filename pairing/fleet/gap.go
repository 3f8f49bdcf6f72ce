package fleet

import (
	"maps"
	"slices"

	"github.com/leatbus/leat/bus"
)

// A subscription that has ended and was made again may have missed messages: with a broker that keeps nothing while
// the connection is broken, it has. In the inbox those are replies to calls of this process, which wait in vain, and
// requests of others, which wait in vain too: they are told, and those of which this
// process does not know are told in answer to their pings.

// gapped ends the calls of this process that may have been answered meanwhile, and tells the others.
func (f *Fleet) gapped() {
	f.update(func(fx *effects) {
		f.gaps++
		if f.err != nil || !f.isReady() {
			return
		}
		for _, m := range f.members {
			if m.busy() || m.box != nil {
				l := &letter{kind: kindBeat}
				f.introduce(l)
				f.post(m, l)
			}
		}
		f.giveUp(slices.Collect(maps.Values(f.calls)), fx)
	})
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
