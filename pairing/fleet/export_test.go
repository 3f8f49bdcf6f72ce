package fleet

import (
	"maps"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
)

// WithClock gives a fleet a wall clock of its own.
func WithClock(o Options, now func() time.Time) Options {
	o.now = now
	return o
}

// Tick is what the keeper does, when it was late by that much.
func (f *Fleet) Tick(late time.Duration) { f.tick(time.Now(), late, false) }

// Age makes it long ago that anybody was heard of.
func (f *Fleet) Age(by time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.members {
		m.heard, m.watch.since = m.heard.Add(-by), m.watch.since.Add(-by)
	}
}

// Newer compares sessions.
func Newer(a, b string) bool { return newer(a, b) }

// NewSession makes one.
func NewSession(at time.Time) string { return newSession(at) }

// RequestsIn returns the IDs of the requests in a bundle.
func RequestsIn(m *message.Message) (ids []string) {
	if !isBundle(m.Payload) {
		return nil
	}
	p := pump{fleet: new(Fleet)}
	_, _ = p.unbundle(m.Payload)
	for i := range p.letters {
		if e := &p.letters[i].envelope; e.Type == bus.ExecuteRequest {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// HashOf is the hash of a member's commands and groups, and HashAfter what it is after a change.
func (f *Fleet) HashOf(id string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.members[id].hash()
}

func (f *Fleet) HashAfter(id, body string) string {
	c, err := readCatalogue([]byte(body))
	if err != nil {
		panic(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	k, of := newKind(""), f.members[id].kind
	k.sum = of.sum
	maps.Copy(k.commands, of.commands)
	maps.Copy(k.sums, of.sums)
	maps.Copy(k.seats, of.seats)
	maps.Copy(k.seatSums, of.seatSums)
	k.apply(&c, maxKnown)
	return k.hash()
}
