package chaostest

import (
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// fate is what happens to one copy of a message.
type fate struct {
	delay     time.Duration // with the copies behind it
	overtakes int           // messages that go first; 0: it keeps its place
}

// dice decide about the messages of one topic, in order of publication.
type dice struct {
	opts *Options
	rand *rand.Rand
}

func newDice(o *Options, topic string) dice {
	h := fnv.New64a()
	_, _ = h.Write([]byte(topic))
	return dice{o, rand.New(rand.NewPCG(o.Seed, h.Sum64()))}
}

// throw returns the copies that are to be made of the next message: none if it
// is dropped.
func (d dice) throw() []fate {
	if d.happens(d.opts.Drop) {
		return nil
	}
	copies := 1
	if d.happens(d.opts.Duplicate) {
		copies = 2 + d.rand.IntN(d.opts.MaxCopies-1)
	}
	fates := make([]fate, copies)
	for i := range fates {
		if d.happens(d.opts.Reorder) {
			fates[i].overtakes = 1 + d.rand.IntN(d.opts.MaxOvertakes)
		} else if d.happens(d.opts.Delay) {
			fates[i].delay = 1 + time.Duration(d.rand.Int64N(int64(d.opts.MaxDelay)))
		}
	}
	return fates
}

func (d dice) happens(p float64) bool { return d.rand.Float64() < p }
