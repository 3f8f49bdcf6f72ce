package main

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// screen writes a line that shows the progress, and notes.
type screen struct {
	width  func() int // of the terminal; nil if out is none
	colour bool

	mu   sync.Mutex // held for each write to out and err
	out  io.Writer
	err  io.Writer
	live bool // guarded by mu: the cursor is in a line that will be overwritten
}

func openScreen(out, err *os.File) *screen {
	s := &screen{out: out, err: err}
	if fd := int(out.Fd()); term.IsTerminal(fd) && os.Getenv("TERM") != "dumb" {
		s.width = func() int {
			if w, _, err := term.GetSize(fd); err == nil && w > 0 {
				return w
			}
			return 80
		}
		s.colour = os.Getenv("NO_COLOR") == ""
	}
	return s
}

// log returns a logger for leat that shows errors only.
func (s *screen) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(noteWriter{s}, &slog.HandlerOptions{Level: slog.LevelError}))
}

type noteWriter struct{ s *screen }

func (w noteWriter) Write(p []byte) (int, error) {
	w.s.note("%s", strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// note writes a line to standard error.
func (s *screen) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	fmt.Fprintf(s.err, format+"\n", args...)
}

// clear wipes the live line. s.mu is held.
func (s *screen) clear() {
	if s.live {
		fmt.Fprint(s.out, "\r\x1b[K")
		s.live = false
	}
}

// follow shows the progress until ended is closed.
func (s *screen) follow(t *tally, ended <-chan struct{}) {
	every := time.Second
	if s.width != nil {
		every = 200 * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	before, window := []account{t.take(0)}, int(time.Second/every) // a rate is of the last second
	for {
		select {
		case <-tick.C:
		case <-ended:
			return
		}
		past := before[0]
		now := t.take(sum(past.answered))
		s.show(now, past, t.calls)
		if before = append(before, now); len(before) > window {
			before = before[1:]
		}
	}
}

func (s *screen) show(now, past account, calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := progress(now, past, calls)
	if s.width == nil {
		fmt.Fprintln(s.out, all[0])
		return
	}
	line := widest(all, s.width()-1) // a full line would wrap
	if s.colour && len(now.failed) > len(past.failed) || s.colour && sum(now.failed) > sum(past.failed) {
		line = "\x1b[31m" + line + "\x1b[0m"
	}
	fmt.Fprint(s.out, "\r\x1b[K"+line)
	s.live = true
}

// progress words the progress, at length first and then in fewer and fewer words.
func progress(now, past account, calls int) []string {
	rate := 0.0
	if took := (now.at - past.at).Seconds(); took > 0 {
		rate = float64(now.ended-past.ended) / took
	}
	at, done, speed := fmt.Sprintf("%4.1fs", now.at.Seconds()), fmt.Sprintf("%5d of %d", now.ended, calls), fmt.Sprintf("%5.0f calls/s", rate)
	latency := fmt.Sprintf("p50 %s  p99 %s", short(now.quantile(50)), short(now.quantile(99)))
	byWorker, errors := "workers:", fmt.Sprintf("errors: %d", sum(now.failed))
	for _, name := range slices.Sorted(maps.Keys(now.answered)) {
		byWorker += fmt.Sprintf(" %d", now.answered[name])
	}
	lines := [][]string{
		{at, done, speed, counts(now.answered), "errors: " + counts(now.failed), latency},
		{at, done, speed, byWorker, errors, latency},
		{at, done, speed, byWorker, errors},
		{at, done, speed, errors},
		{at, done, errors},
		{strings.TrimSpace(done)},
	}
	all := make([]string, len(lines))
	for i, parts := range lines {
		all[i] = strings.Join(parts, "  ")
	}
	return all
}

// widest is the first line that fits, whole; "" if none does.
func widest(lines []string, width int) string {
	for _, line := range lines {
		if len(line) <= width { // in bytes, which are as many as columns, or more
			return line
		}
	}
	return ""
}

// last accounts for every call.
func (s *screen) last(t *tally, again uint64) {
	a := t.take(0)
	text := fmt.Sprintf("sent %d = ok %d", a.sent, sum(a.answered))
	for _, code := range slices.Sorted(maps.Keys(a.failed)) {
		text += fmt.Sprintf(" + %s %d", code, a.failed[code])
	}
	rest := []string{
		"  (" + counts(a.answered) + ";", fmt.Sprintf(" %d sent once more to another worker;", again),
		fmt.Sprintf(" %.0f calls/s, p50 %s, p99 %s, %.1f s)", float64(a.ended)/a.at.Seconds(), short(a.quantile(50)), short(a.quantile(99)), a.at.Seconds()),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	details := strings.Join(rest, "")
	if s.width != nil && len(text+details) > s.width() {
		details = "\n" + strings.Join(rest, "\n  ")
	}
	if s.colour {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	fmt.Fprintln(s.out, text+details)
}

// counts lists numbers by name.
func counts(m map[string]int) string {
	if len(m) == 0 {
		return "none"
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		all = append(all, fmt.Sprintf("%s %d", name, m[name]))
	}
	return strings.Join(all, "  ")
}

// short is a duration with two or three digits.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}
