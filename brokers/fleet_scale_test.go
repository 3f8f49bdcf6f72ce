package brokers_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

// crew is a fleet of many processes, as far as the broker can tell: each has a connection and a registry of its own.
type crew struct {
	url, ns string
	lease   time.Duration
	all     []*crewman
}

type crewman struct {
	*commands.Registry
	fleet  *fleet.Fleet
	broker *brokers.Broker
}

// grow lets so many more begin at once, of four kinds, and returns how long it takes until all know each other.
func (c *crew) grow(t *testing.T, more int) time.Duration {
	t.Helper()
	begun := time.Now()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range more {
		wg.Go(func() {
			m := c.begin(t, fmt.Sprintf("p%d-%d", len(c.all), i), i%4)
			mu.Lock()
			defer mu.Unlock()
			c.all = append(c.all, m)
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	ready := time.Since(begun)
	for _, m := range c.all {
		for len(m.fleet.Members()) != len(c.all)-1 {
			time.Sleep(20 * time.Millisecond)
			require.Less(t, time.Since(begun), 3*time.Minute)
		}
	}
	t.Logf("%d processes join %d: ready after %v, all know all after %v", more, len(c.all)-more, ready, time.Since(begun))
	return time.Since(begun)
}

func (c *crew) begin(t *testing.T, id string, kind int) *crewman {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	b, err := brokers.Open(ctx, c.url, brokers.Options{Namespace: c.ns, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Errorf("open: %v", err)
		return nil
	}
	r, err := commands.NewRegistry(commands.Config{ID: id, Logger: slog.New(slog.DiscardHandler)})
	assert.NoError(t, err)
	for n := range 5 {
		cmd := commands.Define[int, int](fmt.Sprintf("kind%d.command%d", kind, n), "One of the commands of its kind")
		assert.NoError(t, commands.Register(ctx, r, cmd, func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}))
	}
	f, err := b.Fleet(ctx, fleet.Options{ID: id, Lease: c.lease, MaxMembers: 4096, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Errorf("fleet: %v", err)
		return nil
	}
	if _, err = r.RegisterChannel(ctx, f.Channel()); err == nil {
		err = f.Ready(ctx)
	}
	if err != nil {
		t.Errorf("join: %v", err)
	}
	return &crewman{r, f, b}
}

func (m *crewman) end() {
	_ = m.Close()
	_ = m.fleet.Close()
	_ = m.broker.Close()
}

// received is how many messages all have received so far.
func (c *crew) received() (n uint64) {
	for _, m := range c.all {
		n += m.fleet.Stats().Received
	}
	return n
}

// fleetSize is how many processes TestFleetOfManyOverNATS has: 1,000 for the figures of docs/performance.md.
func fleetSize(t *testing.T) int {
	if v := os.Getenv("LEAT_FLEET_SIZE"); v != "" {
		n, err := strconv.Atoi(v)
		require.NoError(t, err)
		return n
	}
	return 40
}

// TestFleetOfManyOverNATS: what a fleet of many costs, over a real connection each: see docs/performance.md. LEAT_FLEET_SIZE says of how
// many.
func TestFleetOfManyOverNATS(t *testing.T) {
	t.Parallel()
	size := fleetSize(t)
	lease := 6 * time.Second
	c := &crew{url: embeddedNATS(t).ClientURL(), ns: namespace(), lease: lease}
	defer func() {
		var wg sync.WaitGroup
		for _, m := range c.all {
			wg.Go(m.end)
		}
		wg.Wait()
	}()
	for first := size - size/5; len(c.all) < first; {
		c.grow(t, min(50, first-len(c.all)))
	}
	require.Less(t, c.grow(t, size/5), time.Minute)

	time.Sleep(lease)
	before, begun := c.received(), time.Now()
	time.Sleep(lease)
	rate := float64(c.received()-before) / time.Since(begun).Seconds() / float64(size)
	t.Logf("idle: %.1f messages a second for each", rate)
	require.Less(t, rate, 20.0)

	leaver := c.all[0]
	before, begun = c.received(), time.Now()
	require.NoError(t, leaver.fleet.Leave(t.Context()))
	took := time.Since(begun)
	for slices.ContainsFunc(c.all[1:], func(m *crewman) bool { return len(m.fleet.Members()) != size-2 }) {
		time.Sleep(10 * time.Millisecond)
	}
	idle := rate * float64(size) * time.Since(begun).Seconds()
	leaving := float64(c.received()-before) - idle
	t.Logf("one leaves in %v, known to all after %v, with %.0f messages beside the idle ones", took, time.Since(begun), leaving)
	require.Less(t, leaving, 2.5*float64(size)+idle+50)
	leaver.end()
	c.all = c.all[1:]

	caller, failed := c.all[0], make(chan time.Time, 64)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for kind := range 4 {
		for range 16 {
			go func() {
				cmd := commands.Define[int, int](fmt.Sprintf("kind%d.command0", kind), "", commands.Options{TTL: time.Minute})
				if _, err := commands.Execute(ctx, caller.Registry, cmd, 1); err != nil && ctx.Err() == nil {
					failed <- time.Now()
				}
			}()
		}
	}
	var dead *crewman
	require.Eventually(t, func() bool {
		i := slices.IndexFunc(c.all, func(m *crewman) bool { return m != caller && m.fleet.Stats().Serving > 0 })
		if i >= 0 {
			dead = c.all[i]
			c.all = slices.Delete(c.all, i, i+1)
		}
		return i >= 0
	}, 10*time.Second, 10*time.Millisecond)
	begun = time.Now()
	require.NoError(t, dead.broker.Close())
	noticed := (<-failed).Sub(begun)
	cancel()
	for slices.ContainsFunc(c.all, func(m *crewman) bool { return len(m.fleet.Members()) != len(c.all)-1 }) {
		time.Sleep(10 * time.Millisecond)
		require.Less(t, time.Since(begun), time.Minute)
	}
	t.Logf("a death is noticed after %v by the one that waits, after %v by all", noticed, time.Since(begun))
	require.Less(t, noticed, lease*4/3+2*time.Second)
	dead.end()

	some := c.all[:len(c.all)*3/20+1]
	before, begun = c.received(), time.Now()
	var wg sync.WaitGroup
	for _, m := range some {
		wg.Go(func() { _ = m.Shutdown(t.Context()) })
	}
	wg.Wait()
	t.Logf("%d leave at once in %v, with %d messages", len(some), time.Since(begun), c.received()-before)
	require.Less(t, time.Since(begun), 30*time.Second)
}
