package main

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/commands"
)

// TestShortSoak is the whole program, for ten seconds (three with -short).
func TestShortSoak(t *testing.T) {
	during := "10s"
	if testing.Short() {
		during = "3s"
	}
	var out, log bytes.Buffer
	status := run(t.Context(), []string{"-for", during, "-every", "1s"}, &out, &log)
	t.Logf("\n%s", out.String())
	assert.Zero(t, status)
	assert.Empty(t, log.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	verdict := lines[len(lines)-1]
	assert.Regexp(t, `^leatsoak: ok: [1-9][0-9]* calls \([1-9]`, verdict)
	// It is no soak if one of these did not happen.
	for _, what := range []string{"emitted", "heard", "counted as lost", "registries", "flaps", "hostile messages"} {
		assert.Regexp(t, `\b[1-9][0-9]* (events )?`+regexp.QuoteMeta(what), verdict)
	}
}

// TestViolationsAreTold: what a soak is for.
func TestViolationsAreTold(t *testing.T) {
	t.Parallel()
	r, err := commands.NewRegistry(commands.Config{ID: "r", Logger: silent})
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	wrong := commands.Define[int64, int64]("wrong", "")
	require.NoError(t, commands.Register(t.Context(), r, wrong, func(_ context.Context, n int64) (int64, error) { return n + 1, nil }))
	fails := commands.Define[int64, int64]("fails", "")
	require.NoError(t, commands.Register(t.Context(), r, fails, func(context.Context, int64) (int64, error) { return 0, errors.New("no") }))
	for kind, violate := range map[string]func(*soaking){
		"wrong result":     func(s *soaking) { s.call(t.Context(), r, wrong, 7) },
		"unexpected error": func(s *soaking) { s.call(t.Context(), r, fails, 7, commands.Timeout) },
		"calls":            func(s *soaking) { s.calls.Add(1); s.balance() },
		"events": func(s *soaking) { // one is lost, and not counted
			e := newStream(r)
			l := hear(s, e, r, 0)
			defer l.listener.Close()
			e.emitted.Add(1)
			l.close(s)
		},
		"heard twice": func(s *soaking) { l := &ledger{stream: newStream(r), at: r}; l.take(s, 1); l.take(s, 1) },
		"order":       func(s *soaking) { l := &ledger{stream: newStream(r), at: r}; l.take(s, 2); l.take(s, 1) },
	} {
		t.Run(kind, func(t *testing.T) {
			var log bytes.Buffer
			s := &soaking{judge: newJudge(&log), ctx: t.Context()}
			violate(s)
			assert.EqualValues(t, 1, s.violations())
			assert.Contains(t, log.String(), "violated: "+kind+": ")
			assert.Contains(t, s.verdict(), "VIOLATED 1 times ("+kind+" 1)")
		})
	}
}

// TestAllowedFailuresAreNone: a call that its caller has left, or that fails as it may.
func TestAllowedFailuresAreNone(t *testing.T) {
	t.Parallel()
	r, err := commands.NewRegistry(commands.Config{ID: "r", Logger: silent})
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	missing := commands.Define[int64, int64]("missing", "")
	var log bytes.Buffer
	s := &soaking{judge: newJudge(&log), ctx: t.Context()}
	s.call(t.Context(), r, missing, 1, commands.NotFound)
	gone, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	s.call(gone, r, missing, 1)
	s.balance()
	assert.Zero(t, s.violations(), log.String())
	assert.Contains(t, s.verdict(), "leatsoak: ok: 2 calls (0 ok, 2 failed: ")
}

func TestWrongArguments(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-for", "-1s"}, {"-load", "0"}, {"-nonsense"}, {"now"}} {
		var out, log bytes.Buffer
		assert.Equal(t, 2, run(t.Context(), args, &out, &log), args)
		assert.NotEmpty(t, log.String())
	}
	var out, log bytes.Buffer
	assert.Zero(t, run(t.Context(), []string{"--help"}, &out, &log))
}
