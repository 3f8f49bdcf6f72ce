package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bench/internal/measure"
)

func TestRatiosPrintsOneWellFormedLineEach(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run([]string{"ratios", "-short"}, &out, io.Discard))
	line := regexp.MustCompile(`^[a-z0-9/-]+\t-?[0-9]+\.[0-9]{3}\t(<=|>=)[0-9.]+\t(ok|short)$`)
	seen := make(map[string]bool)
	for l := range strings.Lines(out.String()) {
		l = strings.TrimSuffix(l, "\n")
		assert.Regexp(t, line, l)
		name, _, _ := strings.Cut(l, "\t")
		assert.False(t, seen[name], "%s twice", name)
		seen[name] = true
	}
	assert.Len(t, seen, len(callRatios)+len(coreRatios)+7)
}

func TestRatiosOfOnePart(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run([]string{"ratios", "-short", "-only", "cores"}, &out, io.Discard))
	assert.Equal(t, len(coreRatios), strings.Count(out.String(), "cores-2/cores-1-"))
	assert.Equal(t, len(coreRatios), strings.Count(out.String(), "\n"))
	require.ErrorContains(t, run([]string{"ratios", "-only", "legs"}, io.Discard, io.Discard), `no part "legs"`)
}

func TestTableThenCharts(t *testing.T) {
	dir := t.TempDir()
	file, page := filepath.Join(dir, "results.json"), filepath.Join(dir, "page.md")
	require.NoError(t, os.WriteFile(page, []byte("before\n<!-- ratios -->\nratios of last year\n<!-- /ratios -->\n"+
		"<!-- tables -->\nnumbers of last year\n<!-- /tables -->\nafter\n"), 0o600))
	ratios := filepath.Join(dir, "ratios.tsv")
	require.NoError(t, os.WriteFile(ratios, []byte("a/b\t1.500\t<=2\tok\nc/d\t1.500\t>=2\tshort\n"), 0o600))
	var out bytes.Buffer
	require.NoError(t, run([]string{"table", "-short", "-json", file}, &out, io.Discard))
	require.NoError(t, run([]string{"charts", "-from", file, "-into", dir, "-page", page, "-ratios", ratios}, io.Discard, io.Discard))
	for _, name := range []string{"calls", "callers", "payload", "hops", "events", "scaling"} {
		assert.FileExists(t, filepath.Join(dir, name+".svg"))
	}
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "last year")
	assert.Contains(t, string(text), out.String())
	assert.Contains(t, string(text), "| a/b | 1.500 | ≤ 2 | ok |\n| c/d | 1.500 | ≥ 2 | short |\n")
	assert.Contains(t, string(text), "after\n")
}

func TestBrokersFillsThePageAndPrintsRatios(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	require.NoError(t, os.WriteFile(page, []byte("before\n<!-- brokers -->\nnumbers of last year\n<!-- /brokers -->\nafter\n"), 0o600))
	var out bytes.Buffer
	require.NoError(t, run([]string{"brokers", "-short", "-page", page}, &out, io.Discard))
	tables, ratios, found := strings.Cut(out.String(), "\n\nnats-fleet/")
	require.True(t, found)
	for _, name := range []string{"nats-fleet", "nats-micro", "nats-request", "jetstream-fleet", "memory-fleet"} {
		assert.Contains(t, tables, "### "+name+"\n")
	}
	assert.Equal(t, 3*5, len(regexp.MustCompile(`(?m)^\| [124] \|( \d+ \| \d+(\.\d)? (µs|ms) \| \d+(\.\d)? (µs|ms) \|){3}$`).FindAllString(tables, -1)), tables)
	line := regexp.MustCompile(`^nats-fleet/nats-micro-\d+-callers\t[0-9]+\.[0-9]{3}\t<=1\.5\t(ok|short)$`)
	count := 0
	for l := range strings.Lines("nats-fleet/" + ratios) {
		assert.Regexp(t, line, strings.TrimSuffix(l, "\n"))
		count++
	}
	assert.Equal(t, 3, count)
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "last year")
	assert.Contains(t, string(text), strings.TrimSpace(tables))
}

func TestBounds(t *testing.T) {
	for _, c := range []struct {
		bound bound
		value float64
		holds bool
	}{{atMost(2), 2, true}, {atMost(2), 2.1, false}, {atLeast(2), 2, true}, {atLeast(2), 1.9, false}} {
		var out bytes.Buffer
		printRatio(&out, "x", c.value, c.bound)
		assert.Equal(t, c.holds, strings.HasSuffix(out.String(), "\tok\n"), out.String())
	}
}

func TestWrongArguments(t *testing.T) {
	assert.Error(t, run(nil, io.Discard, io.Discard))
	assert.ErrorContains(t, run([]string{"dance"}, io.Discard, io.Discard), "dance")
	assert.Error(t, run([]string{"ratios", "-wrong"}, io.Discard, io.Discard))
}

// TestQuantile: also where no caller got the processor, as on a busy machine.
func TestQuantile(t *testing.T) {
	t.Parallel()
	ten := []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for _, c := range []struct {
		sorted  []time.Duration
		percent int
		want    time.Duration
	}{{nil, 50, 0}, {nil, 99, 0}, {ten[:1], 99, 1}, {ten, 50, 6}, {ten, 99, 10}, {ten, 100, 10}} {
		assert.Equal(t, c.want, quantile(c.sorted, c.percent), "%d%% of %v", c.percent, c.sorted)
	}
}

// TestEveryCallerCalls: one call each at least, however late the callers get the processor.
func TestEveryCallerCalls(t *testing.T) {
	t.Parallel()
	took, _, err := callFor(func(context.Context) error { return nil }, 16, 0)
	require.NoError(t, err)
	assert.Len(t, took, 16)
}

// TestOnCores: the setting is that of the run, and gone afterwards.
func TestOnCores(t *testing.T) { // not parallel: the setting is the whole process's
	before, during := runtime.GOMAXPROCS(0), 0
	s := onCores(before+1, measure.Series{Run: func(n int) (int, error) { during = runtime.GOMAXPROCS(0); return n, nil }})
	_, err := s.Run(1)
	require.NoError(t, err)
	assert.Equal(t, before+1, during)
	assert.Equal(t, before, runtime.GOMAXPROCS(0))
}
