// Package logging stands between leat and a user's log: what a peer sends fills no disk, forges no line and ends no
// goroutine.
package logging

import (
	"context"
	"log/slog"

	"github.com/leatbus/leat/internal/contain"
)

// Guard returns a logger that writes to l, with these differences:
//
//   - Values are escaped and cut at [MaxValue] bytes: see [Clean]. A stack, under the key "stack", is left in its lines and
//     cut at [MaxStack].
//   - Of lines with one text and level, [Burst] go through at once, and one each [Every] from then on. The next line that goes
//     through says in "suppressed" how many did not. What [slog.Logger.With] returns counts on its own. Lines below
//     Info are not limited.
//   - A handler of l's that panics, or ends its goroutine, costs its line.
//
// A logger that is guarded already is returned as it is.
func Guard(l *slog.Logger) *slog.Logger {
	if _, guarded := l.Handler().(*guard); guarded {
		return l
	}
	return slog.New(&guard{to: l.Handler(), limit: newLimiter()})
}

type guard struct {
	to    slog.Handler
	limit *limiter
}

func (g *guard) Enabled(ctx context.Context, level slog.Level) (enabled bool) {
	defer func() { _ = recover() }()
	return g.to.Enabled(ctx, level)
}

// Handle hands a record on, unless there were too many like it.
func (g *guard) Handle(ctx context.Context, r slog.Record) (err error) {
	var suppressed uint64
	if r.Level >= slog.LevelInfo {
		n, ok := g.limit.allow(r.Level, r.Message)
		if !ok {
			return nil
		}
		suppressed = n
	}
	_ = contain.Do(func() { err = g.pass(ctx, r, suppressed) }) // a log that is broken has nowhere to say so
	return err
}

func (g *guard) pass(ctx context.Context, r slog.Record, suppressed uint64) error {
	clean := slog.NewRecord(r.Time, r.Level, Clean(r.Message, MaxValue), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(cleanAttr(a))
		return true
	})
	if suppressed > 0 {
		clean.AddAttrs(slog.Uint64("suppressed", suppressed))
	}
	return g.to.Handle(ctx, clean)
}

func (g *guard) WithAttrs(attrs []slog.Attr) slog.Handler {
	return g.with(func(to slog.Handler) slog.Handler {
		cleaned := make([]slog.Attr, len(attrs))
		for i, a := range attrs {
			cleaned[i] = cleanAttr(a)
		}
		return to.WithAttrs(cleaned)
	})
}

func (g *guard) WithGroup(name string) slog.Handler {
	return g.with(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (g *guard) with(fn func(slog.Handler) slog.Handler) slog.Handler {
	next := &guard{to: g.to, limit: newLimiter()}
	_ = contain.Do(func() {
		if to := fn(g.to); to != nil {
			next.to = to
		}
	})
	return next
}
