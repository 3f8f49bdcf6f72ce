package bus

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leatbus/leat/bus/dedupe"
)

// madeID is the ID of the n-th event of a bus with that prefix.
func madeID(prefix string, n uint64) string {
	ids := eventIDs{prefix: prefix, n: n - 1}
	return ids.next()
}

// bubbled hides a *testing.T, the Deadline of which may not be asked in a bubble.
type bubbled struct{ testing.TB }

// hears is hear without the parts that tests of made IDs do not need.
func (l *eventLog) hears(t interface {
	Helper()
	Fatal(...any)
}, id string, via uint64) hearing {
	t.Helper()
	h, err := l.hear(id, via, fmt.Sprint("channel ", via))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// emitterModel is what must hold for one emitter, written for clearness and without bounds.
type emitterModel struct {
	settled map[uint64]hearing // heard, or overtaken
	top     map[uint64]uint64  // by route
	loose   time.Time          // until then in any order
}

func (m *emitterModel) hear(n, via uint64, ttl time.Duration) hearing {
	if n < m.top[via] {
		m.loose = time.Now().Add(ttl)
	}
	m.top[via] = max(m.top[via], n)
	loose := time.Now().Before(m.loose)
	was, again := m.settled[n]
	v := heardNew
	for other, top := range m.top {
		if other != via && top > n && !loose {
			v = overtaken
		}
	}
	if again && (was == heardNew || v == overtaken) {
		return heardOld
	}
	m.settled[n] = v
	return v
}

func (m *emitterModel) highest() (n uint64) {
	for _, top := range m.top {
		n = max(n, top)
	}
	return n
}

// The log agrees with the model about every number that it still has a bit for; of the others it hears none.
func TestRule14EventLogAgainstModel(t *testing.T) {
	t.Parallel()
	prefixes := []string{newEventIDs().prefix, newEventIDs().prefix, newEventIDs().prefix}
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubbled{t}, func(t *rapid.T) {
			const ttl = 100 * time.Millisecond
			models := map[string]*emitterModel{}
			l := newEventLog(ttl, rapid.SampledFrom([]int{1, 70, 1 << 18}).Draw(t, "max"))
			defer l.Close()
			hear := func(prefix string, n, via uint64) {
				m := models[prefix]
				if m == nil {
					m = &emitterModel{settled: map[uint64]hearing{}, top: map[uint64]uint64{}}
					models[prefix] = m
				}
				l.mu.Lock()
				e := l.emitters[prefix]
				early := e != nil && n < e.origin // it may have no room to look so far
				lost := e != nil && n < e.floor && !early
				l.mu.Unlock()
				want := m.hear(n, via, ttl)
				got := l.hears(t, madeID(prefix, n), via)
				switch {
				case early && got == overtaken && want == heardNew:
					delete(m.settled, n)
				case early && got == overtaken:
				case got == heardNew && want != heardNew:
					t.Fatalf("number %d over %d is heard: want %d", n, via, want)
				case lost && got == heardNew:
					t.Fatalf("number %d below the floor is heard", n)
				case !lost && got != want:
					t.Fatalf("number %d over %d: %d, want %d", n, via, got, want)
				}
			}
			t.Repeat(map[string]func(*rapid.T){
				"hear": func(t *rapid.T) {
					prefix := rapid.SampledFrom(prefixes).Draw(t, "prefix")
					via := uint64(rapid.IntRange(1, 3).Draw(t, "via"))
					first, n := rapid.IntRange(1, 3*1024).Draw(t, "first"), rapid.SampledFrom([]int{1, 2, 150}).Draw(t, "n")
					step := rapid.SampledFrom([]int{-7, -1, 1, 7, 1024}).Draw(t, "step")
					for i := range n {
						if k := first + i*step; k > 0 {
							hear(prefix, uint64(k), via)
						}
					}
				},
				"hear the next ones": func(t *rapid.T) {
					prefix := rapid.SampledFrom(prefixes).Draw(t, "prefix")
					via := uint64(rapid.IntRange(1, 3).Draw(t, "via"))
					next := uint64(1)
					if m := models[prefix]; m != nil {
						next = m.highest() + 1
					}
					for i := range uint64(rapid.IntRange(1, 200).Draw(t, "n")) {
						hear(prefix, next+i, via)
					}
				},
				"pass time": func(t *rapid.T) {
					time.Sleep(time.Duration(rapid.IntRange(1, 150).Draw(t, "ms")*rapid.SampledFrom([]int{1, 1, 50}).Draw(t, "times")) * time.Millisecond)
					synctest.Wait()
				},
				"": func(t *rapid.T) {
					s := l.stats()
					if s.keys > l.maxKeys || s.keys < 0 || s.evicted != 0 || s.emitters != len(models) {
						t.Fatalf("stats %+v", s)
					}
					l.mu.Lock()
					defer l.mu.Unlock()
					words, keys := 0, 0
					for _, e := range l.emitters {
						words, keys = words+len(e.window), keys+e.keys
					}
					if words != l.words || keys != l.keys {
						t.Fatalf("%d words and %d keys, counted are %d and %d", words, keys, l.words, l.keys)
					}
				},
			})
		})
	})
}

func TestRule14AnEventIsADuplicateLongAfterItsTTL(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newEventLog(time.Second, 1<<10)
		defer l.Close()
		ids := newEventIDs()
		var all []string
		for range 300 {
			id := ids.next()
			all = append(all, id)
			require.Equal(t, heardNew, l.hears(t, id, 1))
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.Equal(t, eventLogStats{emitters: 1}, l.stats(), "the bits are gone, the mark is not")
		for _, id := range all {
			require.Equal(t, heardOld, l.hears(t, id, 2), "nothing was missed, so all are duplicates")
		}
		require.Equal(t, heardNew, l.hears(t, ids.next(), 2))
		time.Sleep(markMemory - time.Second)
		require.Equal(t, heardOld, l.hears(t, all[0], 2))
		time.Sleep(markMemory + time.Second)
		synctest.Wait()
		assert.Zero(t, l.stats(), "even marks are forgotten")
	})
}

func TestRule15AnOvertakenEventIsCountedOnceAndNotHeard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newEventLog(time.Second, 1<<10)
		defer l.Close()
		prefix := newEventIDs().prefix
		for _, c := range []struct {
			n, via uint64
			want   hearing
		}{
			{1, 1, heardNew}, {3, 1, heardNew},
			{2, 2, overtaken}, {3, 2, heardOld}, {2, 3, heardOld}, // its loss is settled
			{8, 2, heardNew}, {7, 1, overtaken},
		} {
			require.Equal(t, c.want, l.hears(t, madeID(prefix, c.n), c.via), "%d over %d", c.n, c.via)
		}
		require.Equal(t, heardNew, l.hears(t, madeID(prefix, 6), 2), "the disorder of one transport: lower than what it brought itself")
		require.Equal(t, heardNew, l.hears(t, madeID(prefix, 5), 1), "there is no order to keep")
		time.Sleep(time.Second)
		require.Equal(t, overtaken, l.hears(t, madeID(prefix, 4), 3), "for a while")
		// What was missed is known by its count when the bits are gone.
		require.Equal(t, heardNew, l.hears(t, madeID(prefix, 10), 1))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Equal(t, overtaken, l.hears(t, madeID(prefix, 9), 2))
		require.Equal(t, heardOld, l.hears(t, madeID(prefix, 9), 3))
		require.Equal(t, heardNew, l.hears(t, madeID(prefix, 11), 3))
	})
}

// What a transport without order brings is heard, whatever comes first, also beside others: a copy that was overtaken does
// not stand in the way of one that was not.
func TestRule14ATransportWithoutOrderLosesNothing(t *testing.T) {
	t.Parallel()
	type step struct {
		n, via uint64
		want   hearing
	}
	for name, steps := range map[string][]step{
		"the last one comes first":      {{60_000, 1, heardNew}, {1, 1, heardNew}, {1, 1, heardOld}, {30_000, 1, heardNew}, {60_000, 1, heardOld}},
		"… also on another route":       {{9000, 1, heardNew}, {1, 2, overtaken}, {1, 1, heardNew}, {1, 2, heardOld}},
		"a copy was overtaken":          {{2, 1, heardNew}, {1, 2, overtaken}, {1, 1, heardNew}, {1, 2, heardOld}},
		"the route that shows it later": {{2, 2, heardNew}, {1, 1, overtaken}, {2, 1, heardOld}, {1, 2, heardNew}},
		"… by a copy that was there":    {{3, 1, heardNew}, {1, 2, overtaken}, {3, 2, heardOld}, {2, 2, heardNew}, {1, 1, heardNew}},
		"while the window grows":        {{1000, 1, heardNew}, {999, 2, overtaken}, {5000, 1, heardNew}, {999, 1, heardNew}, {999, 2, heardOld}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newEventLog(time.Minute, 1<<10)
			defer l.Close()
			prefix := newEventIDs().prefix
			for _, c := range steps {
				require.Equal(t, c.want, l.hears(t, madeID(prefix, c.n), c.via), "%d over %d", c.n, c.via)
			}
		})
	}
}

// A number that is made up does not silence the bus whose prefix it has, whether that was heard of before or not.
func TestRule26AForgedNumberSilencesNobody(t *testing.T) {
	t.Parallel()
	const last = 1<<48 - 1
	for _, before := range []uint64{0, 1, 1000, 1 << 40} {
		l := newEventLog(time.Minute, 1<<10)
		prefix := newEventIDs().prefix
		if before > 0 {
			require.Equal(t, heardNew, l.hears(t, madeID(prefix, before), 1))
		}
		for i := range uint64(10) {
			l.hears(t, madeID(prefix, last-i*(2*maxLeap)), 2+i%3)
			l.hears(t, madeID(prefix, 1<<45+i*(2*maxLeap)), 5+i)
		}
		for n := before + 1; n < before+500; n++ {
			require.Equal(t, heardNew, l.hears(t, madeID(prefix, n), 1), "%d after %d", n, before)
			require.Equal(t, heardOld, l.hears(t, madeID(prefix, n), 2), "%d after %d", n, before)
		}
		require.NoError(t, l.Close())
	}
}

// A link that was away for long goes on where its emitter is.
func TestRule15ALeapIsBelieved(t *testing.T) {
	t.Parallel()
	l := newEventLog(time.Minute, 1<<10)
	defer l.Close()
	prefix := newEventIDs().prefix
	n := uint64(1)
	for route := range uint64(10) {
		require.Equal(t, heardNew, l.hears(t, madeID(prefix, n), route+1))
		require.Equal(t, heardNew, l.hears(t, madeID(prefix, n+5), route+1))
		require.Equal(t, heardOld, l.hears(t, madeID(prefix, n), 100), "once")
		if route < maxGaps {
			require.Equal(t, overtaken, l.hears(t, madeID(prefix, n+4), 100), "in order")
		}
		n += 3 * maxLeap
	}
}

// UUIDs of version 8 are not all made by a bus.
func TestRule14ForeignUUIDsOfVersion8(t *testing.T) {
	t.Parallel()
	l := newEventLog(time.Minute, 1<<10)
	defer l.Close()
	for _, prefix := range []string{"01890000-0000-8000-8000-", "ffffffff-ffff-8fff-bfff-", "00000000-0000-8abc-8000-"} {
		for _, n := range []uint64{1 << 47, 3, 1 << 30, 2, 1<<48 - 1, 1} {
			require.Equal(t, heardNew, l.hears(t, madeID(prefix, n), 1))
			require.Equal(t, heardOld, l.hears(t, madeID(prefix, n), 2))
		}
	}
	require.Zero(t, l.stats().emitters)
}

func TestRule14ForeignIDs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newEventLog(time.Second, 1<<10)
		defer l.Close()
		ids := map[string]string{
			"a UUID":                 NewID(),
			"in capitals":            "00000000-0000-8000-8000-00000000000F",
			"36 bytes, version 8":    "not a UUID, o8r is it? 0123456789abc",
			"a number that is never": "00000000-0000-8000-8000-000000000000",
			"opaque":                 "1",
		}
		for name, id := range ids {
			assert.Equal(t, heardNew, l.hears(t, id, 1), name)
		}
		time.Sleep(time.Second - 1)
		for name, id := range ids {
			assert.Equal(t, heardOld, l.hears(t, id, 1), name)
		}
		assert.Equal(t, eventLogStats{keys: len(ids)}, l.stats())
		for round := range maxRounds {
			time.Sleep(2 * time.Second)
			assert.Zero(t, l.stats().keys)
			for name, id := range ids {
				assert.Equal(t, heardOld, l.hears(t, id, 2), "%s: in a circle, %d", name, round)
			}
			time.Sleep(2 * time.Second)
			for name, id := range ids {
				assert.Equal(t, heardNew, l.hears(t, id, 1), "%s: a peer that counts from 1 again, %d", name, round)
			}
		}
		time.Sleep(2 * time.Second)
		for name, id := range ids {
			assert.Equal(t, heardOld, l.hears(t, id, 1), "%s: a peer that is part of the circle", name)
		}
		time.Sleep(2 * originMemory)
		synctest.Wait()
		for name, id := range ids {
			assert.Equal(t, heardNew, l.hears(t, id, 2), "%s: forgotten", name)
		}
		require.NoError(t, l.Close())
		for name, id := range ids {
			_, err := l.hear(id, 1, "")
			assert.ErrorIs(t, err, dedupe.ErrClosed, name)
		}
		_, err := l.hear(newEventIDs().next(), 1, "")
		assert.ErrorIs(t, err, dedupe.ErrClosed)
	})
}

// Its tests are not parallel: they count bytes.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestEventLogMemory(t *testing.T) {
	const n = 40_000
	ids := newEventIDs()
	for _, c := range []struct {
		name  string
		id    func(i int) string
		bytes float64 // an ID, at most
		want  eventLogStats
	}{
		{"in order", func(int) string { return ids.next() }, 1, eventLogStats{keys: n / 2, emitters: 1}},
		// What can be done by making IDs up. The bounds hold for them too.
		{"far apart", func(i int) string { return madeID(ids.prefix, uint64(i+1)*1024) }, 1, eventLogStats{keys: 64, emitters: 1}},
		{"each with a prefix of its own", func(i int) string {
			return madeID(sealPrefix(fmt.Appendf(nil, "%08x-0000-8000-8000-", i)), 1)
		}, 500, eventLogStats{keys: 1024 + n/8, emitters: 1024 + n/8, evicted: n - 1024 - n/8}},
		{"foreign ones of a kilobyte", func(i int) string { return fmt.Sprintf("%01024d", i) }, 500, eventLogStats{keys: n / 2, evicted: n / 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := inUse()
				l := newEventLog(time.Minute, n/2)
				defer l.Close()
				for i := range n {
					require.Equal(t, heardNew, l.hears(t, c.id(i), 1))
				}
				used := inUse() - before
				assert.LessOrEqual(t, float64(used), c.bytes*n/2+1<<16, "bytes an ID: %.1f", float64(used)/(n/2))
				s := l.stats()
				assert.InDelta(t, c.want.keys, s.keys, 64)
				c.want.keys = s.keys
				assert.Equal(t, c.want, s)
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				assert.Zero(t, l.stats().keys)
				time.Sleep(2 * markMemory)
				synctest.Wait()
				assert.Less(t, inUse()-before, max(used/2, 1<<16), "it shrinks")
				assert.Zero(t, l.stats().emitters)
			})
		})
	}
}

func TestAnEventOfItsOwnIsKnownByItsID(t *testing.T) {
	t.Parallel()
	ids, others := newEventIDs(), newEventIDs()
	seen := map[string]bool{}
	for range 5000 {
		id := ids.next()
		assert.False(t, seen[id])
		seen[id] = true
		assert.True(t, ids.made(id))
		assert.False(t, others.made(id))
		assert.Len(t, messageUUID(id), 36)
		assert.Equal(t, id, messageUUID(id), "it goes out as the UUID of the message")
	}
	for _, id := range []string{"", ids.prefix, ids.prefix + "00000000001", ids.prefix + "0000000000001"} {
		assert.False(t, ids.made(id), id)
	}
}

// Behind the link to a fleet each process is a route of its own; a peer that is one process cannot pretend to be many.
func TestRule15RoutesOfALink(t *testing.T) {
	t.Parallel()
	b := New(Options{})
	fleet, plain := newLink(b, &Channel{ID: "fleet"}, nil), newLink(b, &Channel{ID: "plain"}, nil)
	fleet.features.Store(uint32(Shared))
	from := func(l *Link, key string) uint64 { return l.route(&Envelope{Type: Event, Key: key}) }
	assert.NotEqual(t, from(fleet, "a"), from(fleet, "b"))
	assert.Equal(t, from(fleet, "a"), from(fleet, "a"))
	assert.Equal(t, from(plain, "a"), from(plain, "b"))
	assert.NotEqual(t, from(plain, ""), from(fleet, ""))
	assert.NotEqual(t, from(plain, ""), newLink(b, &Channel{ID: "plain"}, nil).route(&Envelope{}), "the next link of a channel is another route")
	require.NoError(t, b.Close())
}
