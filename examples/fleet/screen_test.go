package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	halfway = account{at: 12300 * time.Millisecond, sent: 10_000, ended: 9_876,
		answered: map[string]int{"worker-1": 3333, "worker-2": 2222, "worker-3": 4300}, failed: map[string]int{"channel_disconnected": 21},
		took: []time.Duration{12 * time.Millisecond, 24 * time.Millisecond}}
	earlier = account{at: 11300 * time.Millisecond, ended: 8_000}
)

// shown is what a terminal of that width shows: the line, without control codes.
func shown(t *testing.T, width int) string {
	t.Helper()
	var out bytes.Buffer
	s := &screen{out: &out, err: &out, width: func() int { return width }}
	s.show(halfway, earlier, 10_000)
	line, ours := strings.CutPrefix(out.String(), "\r\x1b[K")
	require.True(t, ours, "%q", out.String())
	return line
}

// However narrow the terminal is, the live line fits it, and no number is cut.
func TestLiveLineFitsTheTerminal(t *testing.T) {
	t.Parallel()
	number := regexp.MustCompile(`[0-9][0-9.]*`)
	whole := make(map[string]bool)
	for _, text := range progress(halfway, earlier, 10_000) {
		for _, n := range number.FindAllString(text, -1) {
			whole[n] = true
		}
	}
	for width := 1; width <= 200; width++ {
		line := shown(t, width)
		assert.Less(t, len(line), width, line)
		for _, n := range number.FindAllString(line, -1) {
			assert.True(t, whole[n], "width %d: %q", width, line)
		}
		if width > 14 {
			assert.Contains(t, line, "9876 of 10000", "width %d", width)
		}
	}
	assert.Equal(t, "12.3s   9876 of 10000   1876 calls/s  workers: 3333 2222 4300  errors: 21", shown(t, 80))
	assert.Equal(t, "12.3s   9876 of 10000   1876 calls/s  worker-1 3333  worker-2 2222  worker-3 4300"+
		"  errors: channel_disconnected 21  p50 24ms  p99 24ms", shown(t, 200))
}

// What is no terminal gets lines, whole, and no control codes.
func TestNoControlCodesInAPipe(t *testing.T) {
	t.Parallel()
	var out, err bytes.Buffer
	s := &screen{out: &out, err: &err}
	tally := newTally(2)
	s.show(halfway, earlier, 10_000)
	s.note("worker-1 is ready")
	tally.next()
	tally.end("worker-1", time.Millisecond, nil)
	s.last(tally, 0)
	assert.NotRegexp(t, `[\x00-\x09\x0b-\x1f\x7f]`, out.String()+err.String())
	assert.Equal(t, 2, strings.Count(out.String(), "\n"), out.String())
}

// The last account is put on several lines where one would wrap.
func TestLastAccountOnANarrowTerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &screen{out: &out, err: &out, width: func() int { return 80 }}
	tally := newTally(3)
	for _, worker := range []string{"worker-1", "worker-2", "worker-3"} {
		tally.next()
		tally.end(worker, time.Millisecond, nil)
	}
	s.last(tally, 1)
	for line := range strings.Lines(out.String()) {
		assert.LessOrEqual(t, len(strings.TrimSuffix(line, "\n")), 80, line)
	}
	assert.Contains(t, out.String(), "sent 3 = ok 3\n")
}
