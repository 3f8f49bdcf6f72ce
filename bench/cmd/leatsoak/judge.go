package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/leatbus/leat/commands"
)

// judge counts what happens, and takes down what must not. All methods are safe for concurrent use.
type judge struct {
	calls, ok      atomic.Uint64 // calls begun; those that ended with the right result
	emitted, heard atomic.Uint64 // events, on the steady sites
	lost           atomic.Uint64 // of those: counted as dropped or unsent; written when the ledgers are closed
	lives, flaps   atomic.Uint64 // registries that have come and gone, links that were broken
	hostile        atomic.Uint64 // messages of hostile peers

	mu     sync.Mutex
	log    io.Writer
	failed map[string]uint64 // guarded by mu: calls that failed, by code
	wrong  map[string]uint64 // guarded by mu: violations, by kind
}

// newJudge writes violations to log.
func newJudge(log io.Writer) *judge {
	return &judge{log: log, failed: make(map[string]uint64), wrong: make(map[string]uint64)}
}

// saidOfKind is how many violations of a kind are written down one by one.
const saidOfKind = 10

// violated takes down that a promise was not kept.
func (j *judge) violated(kind, format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.wrong[kind]++; j.wrong[kind] <= saidOfKind {
		fmt.Fprintf(j.log, "violated: %s: %s\n", kind, fmt.Sprintf(format, args...))
	}
}

// fail counts a call that has failed.
func (j *judge) fail(code string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.failed[code]++
}

func (j *judge) violations() (n uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range j.wrong {
		n += c
	}
	return n
}

// failures lists the calls that failed, by code, and returns how many there were.
func (j *judge) failures() (text string, n uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []string
	for _, code := range slices.Sorted(maps.Keys(j.failed)) {
		all = append(all, fmt.Sprintf("%s %d", code, j.failed[code]))
		n += j.failed[code]
	}
	if all == nil {
		return "-", 0
	}
	return strings.Join(all, ", "), n
}

// balance checks that every call has ended in one way.
func (j *judge) balance() {
	_, failed := j.failures()
	if calls, ok := j.calls.Load(), j.ok.Load(); calls != ok+failed {
		j.violated("calls", "%d were made, %d succeeded and %d failed", calls, ok, failed)
	}
}

func (j *judge) verdict() string {
	failed, n := j.failures()
	what := fmt.Sprintf("%d calls (%d ok, %d failed: %s), %d events emitted, %d heard by several listeners each, %d counted as lost, "+
		"%d registries, %d flaps, %d hostile messages",
		j.calls.Load(), j.ok.Load(), n, failed, j.emitted.Load(), j.heard.Load(), j.lost.Load(), j.lives.Load(), j.flaps.Load(), j.hostile.Load())
	if v := j.violations(); v > 0 {
		j.mu.Lock()
		defer j.mu.Unlock()
		var kinds []string
		for _, k := range slices.Sorted(maps.Keys(j.wrong)) {
			kinds = append(kinds, fmt.Sprintf("%s %d", k, j.wrong[k]))
		}
		return fmt.Sprintf("leatsoak: VIOLATED %d times (%s): %s", v, strings.Join(kinds, ", "), what)
	}
	return "leatsoak: ok: " + what
}

// codeOf names how a call has failed, for the table. A call that ended with its ctx is told apart.
func codeOf(err error) string {
	code := string(commands.CodeOf(err))
	if code == "" {
		return "ctx"
	}
	return code
}
