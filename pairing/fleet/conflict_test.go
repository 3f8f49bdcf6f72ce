package fleet_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

type (
	orderV1 struct {
		Item string `json:"item"`
	}
	orderV2 struct {
		Item   string `json:"item"`
		Colour string `json:"colour,omitempty"`
	}
	receiptV1 struct {
		Total int    `json:"total"`
		ID    string `json:"id"`
	}
	receiptV2 struct {
		Total int `json:"total"`
	}
)

var (
	placeV1      = commands.Define[orderV1, receiptV1]("order.place", "")
	placeV1Loose = commands.Define[orderV1, receiptV1]("order.place", "", commands.Options{Tolerant: true})
	placeV2      = commands.Define[orderV2, receiptV1]("order.place", "", commands.Options{Tolerant: true})
	placeV3      = commands.Define[orderV2, receiptV2]("order.place", "", commands.Options{Tolerant: true})
)

func place[Req, Res any](t *testing.T, m *member, c commands.Command[Req, Res]) {
	require.NoError(t, commands.Register(t.Context(), m.Registry, c, func(context.Context, Req) (res Res, err error) { return res, nil }))
}

// TestFleetShowsConflictingSchemas: servers of several versions are shown where they do not fit, by the other processes
// and by themselves, and logged once for a pair of schemas however many processes there are.
func TestFleetShowsConflictingSchemas(t *testing.T) {
	t.Parallel()
	ps := memory.New(memory.Options{})
	t.Cleanup(func() { require.NoError(t, ps.Close()) })
	process := func(id string) *member {
		m := join(t, ps, id, fleet.Options{})
		t.Cleanup(func() { m.end(t) })
		return m
	}
	caller, old, other, next, last := process("caller"), process("old"), process("other"), process("next"), process("last")
	all := []*member{caller, old, other, next, last}

	place(t, next, placeV2)
	place(t, last, placeV2)
	place(t, old, placeV1)
	place(t, other, placeV1)
	want := []fleet.Conflict{{Command: "order.place", Servers: [2][]string{{"last", "next"}, {"old", "other"}}, Problems: []string{"request colour: is not known"}}}
	for _, m := range all {
		require.Eventually(t, func() bool { return assert.ObjectsAreEqual(want, m.fleet.Conflicts()) }, 10*time.Second, time.Millisecond, "%s: %v", m.ID(), m.fleet.Conflicts())
		require.Eventually(t, func() bool { return m.fleet.Stats().Conflicts > 0 }, 10*time.Second, time.Millisecond, m.ID())
		m.fleet.Conflicts()
		assert.EqualValues(t, 1, m.fleet.Stats().Conflicts, m.ID())
	}
	old.Unregister("order.place")
	other.Unregister("order.place")
	for _, m := range all {
		require.Eventually(t, func() bool { return len(m.fleet.Conflicts()) == 0 }, 10*time.Second, time.Millisecond, m.ID())
	}
	place(t, old, placeV1Loose)
	require.Eventually(t, func() bool {
		return len(commandsOf(caller, "old")) == 1
	}, 10*time.Second, time.Millisecond)
	assert.Empty(t, caller.fleet.Conflicts(), "servers that ignore what they do not know fit")
	place(t, other, placeV3)
	require.Eventually(t, func() bool { return len(caller.fleet.Conflicts()) == 2 }, 10*time.Second, time.Millisecond)
	for _, c := range caller.fleet.Conflicts() {
		assert.Equal(t, []string{"result id: is missing, and required"}, c.Problems)
	}
}

func commandsOf(m *member, id string) []string {
	for _, other := range m.fleet.Members() {
		if other.ID == id {
			return other.Commands
		}
	}
	return nil
}

// said is a log.
type said struct {
	mu    sync.Mutex
	lines strings.Builder
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines.Write(p)
}

func (s *said) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.lines.String(), what)
}

// TestFleetLogsConflictingSchemasOnce also for durable commands, which are offered later.
func TestFleetLogsConflictingSchemasOnce(t *testing.T) {
	t.Parallel()
	d := newDepot()
	var log said
	caller := d.site(t, "caller", siteOptions{fleet: func(o *fleet.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) }})
	type pairV2 struct {
		A, B int
		C    string `json:",omitempty"`
	}
	later := commands.Define[pairV2, int]("job.add", "", durable)
	for _, id := range []string{"a", "b", "c"} {
		d.site(t, id).serve(t, add)
	}
	for _, id := range []string{"d", "e"} {
		require.NoError(t, commands.Register(t.Context(), d.site(t, id).Registry, later, func(context.Context, pairV2) (int, error) { return 0, nil }))
	}
	until(t, "all are known", func() bool {
		c := caller.fleet.Conflicts()
		return len(c) == 1 && len(c[0].Servers[0]) == 3 && len(c[0].Servers[1]) == 2
	})
	until(t, "it is logged", func() bool { return log.count("do not fit each other") > 0 })
	caller.fleet.Conflicts()
	require.Equal(t, 1, log.count("do not fit each other"))
	require.Equal(t, 1, log.count("request C: is not known"))
}
