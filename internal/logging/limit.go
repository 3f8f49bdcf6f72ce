package logging

import (
	"log/slog"
	"sync"
	"time"
)

// Burst and Every bound how many lines with one text go through: Burst at once, and one more after each Every.
const (
	Burst = 16
	Every = time.Second
)

// maxTexts bounds the texts that a limiter tells apart; all others count as one.
const maxTexts = 64

// limiter counts lines by their text and level.
type limiter struct {
	mu    sync.Mutex
	lines map[line]*bucket // guarded by mu
}

type line struct {
	level slog.Level
	text  string
}

// bucket is what one kind of line may still say.
type bucket struct {
	left       int
	filled     time.Time // when left was right
	suppressed uint64    // since the last that went through
}

func newLimiter() *limiter { return &limiter{lines: make(map[line]*bucket)} }

// allow reports whether one more goes through, and if so, how many have not since the last that did.
func (l *limiter) allow(level slog.Level, text string) (suppressed uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := line{level, text}
	b := l.lines[key]
	if b == nil && len(l.lines) >= maxTexts {
		key = line{level: level}
		b = l.lines[key]
	}
	now := time.Now()
	if b == nil {
		b = &bucket{left: Burst, filled: now}
		l.lines[key] = b
	}
	if n := now.Sub(b.filled) / Every; n > 0 {
		b.left = int(min(Burst, time.Duration(b.left)+n))
		b.filled = b.filled.Add(n * Every)
	}
	if b.left == 0 {
		b.suppressed++
		return 0, false
	}
	b.left--
	suppressed, b.suppressed = b.suppressed, 0
	return suppressed, true
}
