package bus

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/leatbus/leat/bus/dedupe"
)

const (
	originMemory = time.Hour // how long it is remembered where a foreign ID came from
	maxRounds    = MaxHops   // how often one may come again from there
)

// foreignLog remembers the IDs of events that no bus has made. Such an ID is a duplicate for EventTTL. After that it
// is a new event if it comes over the channel that brought it first, at most maxRounds times: a peer may count its
// events, and begin anew. Over another channel it is a duplicate for originMemory: there it is an event that goes in a
// circle, each trip of which takes longer than EventTTL. Of what is remembered that long, two generations are kept; one is
// full at half of maxKeys or after half of the time, and the older one is dropped then.
type foreignLog struct {
	recent  *dedupe.TTLStore
	maxKeys int
	seeds   [2]maphash.Seed
	base    time.Time

	mu         sync.Mutex
	young, old map[[2]uint64]origin // guarded by mu
	turned     time.Duration        // guarded by mu: when young began, since base
	duplicates uint64               // guarded by mu
	timer      *time.Timer          // guarded by mu: turns; nil while nothing is remembered
	closed     bool                 // guarded by mu
}

// origin is where an ID came from.
type origin struct {
	channel uint64 // its hash
	rounds  int    // how often it has come from there again
}

func newForeignLog(ttl time.Duration, maxKeys int) *foreignLog {
	return &foreignLog{
		recent:  dedupe.NewTTLStore(ttl, dedupe.TTLStoreOptions{MaxKeys: maxKeys}),
		maxKeys: maxKeys,
		seeds:   [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		base:    time.Now(),
	}
}

// hear says what an event is, and remembers it.
func (l *foreignLog) hear(id, channel string) (hearing, error) {
	fresh, err := l.recent.Reserve(context.Background(), id)
	if err != nil || !fresh {
		return heardOld, err
	}
	key := [2]uint64{maphash.String(l.seeds[0], id), maphash.String(l.seeds[1], id)}
	from := maphash.String(l.seeds[0], channel)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return heardOld, dedupe.ErrClosed
	}
	o, known := l.young[key]
	if !known {
		o, known = l.old[key]
	}
	if !known {
		o.channel = from
	} else if o.rounds++; o.channel != from || o.rounds > maxRounds {
		l.duplicates++
		return heardOld, nil
	}
	l.remember(key, o)
	return heardNew, nil
}

// remember puts an ID into the young generation. l.mu is held.
func (l *foreignLog) remember(key [2]uint64, o origin) {
	if len(l.young) >= max(1, l.maxKeys/2) {
		l.turn()
	}
	if l.young == nil {
		l.young = make(map[[2]uint64]origin)
	}
	l.young[key] = o
	if l.timer == nil {
		l.timer = time.AfterFunc(originMemory/2, l.age)
	}
}

// turn begins a generation. l.mu is held.
func (l *foreignLog) turn() {
	l.old, l.young, l.turned = l.young, nil, time.Since(l.base)
}

// age is the timer's function.
func (l *foreignLog) age() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = nil
	if l.closed {
		return
	}
	if time.Since(l.base)-l.turned >= originMemory/2 {
		l.turn()
	}
	if len(l.old)+len(l.young) > 0 {
		l.timer = time.AfterFunc(originMemory/2, l.age)
	}
}

func (l *foreignLog) stats() eventLogStats {
	s := l.recent.Stats()
	return eventLogStats{keys: s.Keys, evicted: s.Evicted}
}

// Close forgets everything.
func (l *foreignLog) Close() error {
	l.mu.Lock()
	l.closed, l.young, l.old = true, nil, nil
	if l.timer != nil {
		l.timer.Stop()
	}
	l.mu.Unlock()
	return l.recent.Close()
}
