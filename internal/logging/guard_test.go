package logging_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/leatbus/leat/internal/logging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// book keeps what it is told, as a handler that writes values as they are would.
type book struct {
	lines []string
	trip  func() // instead of writing
}

func (b *book) Enabled(context.Context, slog.Level) bool { return true }

func (b *book) Handle(_ context.Context, r slog.Record) error {
	if b.trip != nil {
		b.trip()
	}
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	b.lines = append(b.lines, line)
	return nil
}

func (b *book) WithAttrs([]slog.Attr) slog.Handler { return b }
func (b *book) WithGroup(string) slog.Handler      { return b }

func TestRule25LinesAreLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		log := logging.Guard(slog.New(b))
		for range 1000 {
			log.Warn("rejected")
		}
		assert.Len(t, b.lines, logging.Burst)
		log.Warn("something else")
		assert.Equal(t, "something else", b.lines[logging.Burst], "each text has a share of its own")
		time.Sleep(logging.Every)
		log.Warn("rejected")
		log.Warn("rejected")
		require.Len(t, b.lines, logging.Burst+2)
		assert.Equal(t, "rejected suppressed=984", b.lines[logging.Burst+1], "what was left out is counted")
		time.Sleep(time.Hour)
		for range 1000 {
			log.Warn("rejected")
		}
		assert.Len(t, b.lines, 2*logging.Burst+2, "an hour of silence is worth one burst")
	})
}

func TestRule25AManyWordedLogIsLimitedToo(t *testing.T) {
	t.Parallel()
	b := &book{}
	log := logging.Guard(slog.New(b))
	for i := range 100_000 {
		log.Warn(strings.Repeat("x", i%1000))
	}
	assert.Less(t, len(b.lines), 70*logging.Burst)
}

func TestRule25ValuesAreCutAndEscaped(t *testing.T) {
	t.Parallel()
	b := &book{}
	log := logging.Guard(slog.New(b))
	log.Error("broken", "id", "a\nERROR forged\x1b[31m\u2028", "error", errors.New("x\r\ny"), "n", 3)
	log.Error("broken", "id", strings.Repeat("\n", 4<<20))
	log.Error("broken", slog.Group("g", "v", []string{"a\n"}))
	require.Len(t, b.lines, 3)
	assert.Equal(t, `broken id=a\nERROR forged\x1b[31m\u2028 error=x\r\ny n=3`, b.lines[0])
	assert.Less(t, len(b.lines[1]), 4*logging.MaxValue)
	assert.Contains(t, b.lines[1], "(4194304 bytes)")
	assert.Equal(t, `broken g=[v=[a\n]]`, b.lines[2])
}

func TestRule25ALogThatBreaksCostsItsLine(t *testing.T) {
	t.Parallel()
	for name, trip := range map[string]func(){"panic": func() { panic("full disk") }, "exit": runtime.Goexit} {
		b := &book{trip: trip}
		log := logging.Guard(slog.New(b)).With("k", "v")
		log.Error("one") // returns
		b.trip = nil
		log.Error("two")
		assert.Equal(t, []string{"two"}, b.lines, name)
	}
}

func TestGuardOfAGuardIsTheSame(t *testing.T) {
	t.Parallel()
	log := logging.Guard(slog.New(&book{}))
	assert.Same(t, log, logging.Guard(log))
}

func TestCleanKeepsWhatPrintsAndBoundsTheRest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "s")) + rapid.String().Draw(t, "u")
		limit := rapid.IntRange(0, 64).Draw(t, "limit")
		clean := logging.Clean(s, limit)
		for _, r := range clean {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q does not print", clean)
			}
		}
		if len(clean) > 10*limit+32 {
			t.Fatalf("%d bytes over a limit of %d", len(clean), limit)
		}
		if len(s) <= limit && logging.Clean(clean, len(clean)) != clean {
			t.Fatalf("%q changes when it is cleaned again", clean)
		}
	})
}
