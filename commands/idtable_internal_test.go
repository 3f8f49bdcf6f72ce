package commands

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leatbus/leat/bus"
)

type idItem struct{ idEntry[*idItem] }

// TestModelOfTheIDTable compares a table with a map. A few hashes serve all IDs: chains are long.
func TestModelOfTheIDTable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var table idTable[*idItem]
		model := make(map[string]*idItem)
		hashes := rapid.Uint64Range(1, 20).Draw(rt, "hashes")
		ids := rapid.Custom(func(t *rapid.T) string { return fmt.Sprint(rapid.IntRange(0, 60).Draw(t, "id")) })
		hash := func(id string) uint64 { return hashID(id) % hashes }
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(rt *rapid.T) {
				id := ids.Draw(rt, "id")
				if model[id] == nil {
					item := &idItem{}
					table.add(&item.idEntry, id, hash(id), item)
					model[id] = item
				}
			},
			"remove": func(rt *rapid.T) {
				id := ids.Draw(rt, "id")
				if item := model[id]; item != nil {
					require.True(rt, table.remove(&item.idEntry))
					require.False(rt, table.remove(&item.idEntry), "twice")
					delete(model, id)
				}
			},
			"remove a stranger": func(rt *rapid.T) {
				stranger := &idItem{}
				stranger.id = ids.Draw(rt, "id")
				stranger.hash = hash(stranger.id)
				require.False(rt, table.remove(&stranger.idEntry))
			},
			"": func(rt *rapid.T) {
				require.Equal(rt, len(model), table.len())
				all := slices.Collect(table.all())
				require.Len(rt, all, len(model))
				for _, item := range all {
					require.Same(rt, model[item.id], item)
				}
				for i := range 61 {
					id := fmt.Sprint(i)
					e := table.get(id, hash(id))
					require.Equal(rt, model[id] != nil, e != nil)
					if e != nil {
						require.Same(rt, model[id], e.item)
					}
				}
			},
		})
	})
}

func TestRule24AnEmptyIDTableLetsGoOfItsMemory(t *testing.T) {
	t.Parallel()
	var table idTable[*idItem]
	items := make([]idItem, 10*keptHeads)
	for i := range items {
		id := fmt.Sprint(i)
		table.add(&items[i].idEntry, id, hashID(id), &items[i])
	}
	require.GreaterOrEqual(t, len(table.heads), len(items))
	for i := range items {
		require.True(t, table.remove(&items[i].idEntry))
	}
	assert.LessOrEqual(t, len(table.heads), keptHeads)
}

// nowhere publishes nothing.
type nowhere struct{}

func (nowhere) Publish(string, ...*message.Message) error { return nil }
func (nowhere) Close() error                              { return nil }

// timed is a settler that notes when it is settled.
type timed struct {
	exchange
	settled chan time.Time
}

func (w *timed) settle(outcome)   { w.settled <- time.Now() }
func (w *timed) answer() bus.Type { return bus.ExecuteResponse }

// Deadlines are in no order until the first of them has passed. Each request still ends at its own.
func TestRule02EachRequestEndsAtItsOwnDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, err := NewRegistry(Config{})
		require.NoError(t, err)
		defer r.Close()
		link, err := r.RegisterChannel(t.Context(), &bus.Channel{ID: "peer", Publisher: nowhere{}, Out: "out"})
		require.NoError(t, err)
		p := &peer{r: r, link: link}
		p.out.open()
		random := rand.New(rand.NewPCG(1, 2))
		var all sync.WaitGroup
		for range 2000 {
			all.Go(func() {
				time.Sleep(time.Duration(draw(random, 1000)) * time.Millisecond)
				w := &timed{settled: make(chan time.Time, 1)}
				w.owner = w
				ttl := time.Duration(1+draw(random, 1000)) * time.Millisecond
				at := time.Now().Add(ttl)
				assert.True(t, p.begin(&w.exchange, "", at))
				if draw(random, 2) == 0 {
					time.Sleep(time.Duration(draw(random, int(ttl.Milliseconds()))) * time.Millisecond)
					assert.True(t, p.out.drop(&w.exchange))
					return
				}
				assert.Equal(t, at, <-w.settled)
			})
		}
		all.Wait()
		assert.Zero(t, p.out.len())
		for i := range p.out {
			assert.Empty(t, p.out[i].deadlines.waiting)
		}
		assert.Empty(t, p.out.close())
	})
}

var drawMu sync.Mutex

func draw(r *rand.Rand, n int) int {
	drawMu.Lock()
	defer drawMu.Unlock()
	return r.IntN(n)
}

func TestRule25ACallTakesAPartOfTheTableThatIsNotLocked(t *testing.T) {
	t.Parallel()
	var p pending
	p.open()
	defer p.close()
	for free := range p {
		for i := range p {
			if i != free {
				p[i].mu.Lock()
			}
		}
		w := &timed{}
		w.owner, w.at = w, time.Now().Add(time.Hour)
		require.True(t, p.add(&w.exchange, ""))
		assert.Same(t, &p[free], p.part(w.id))
		for i := range p {
			if i != free {
				p[i].mu.Unlock()
			}
		}
	}
	assert.Equal(t, len(p), p.len())
}
