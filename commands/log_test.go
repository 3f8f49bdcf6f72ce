package commands_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// plainLog is a Watermill logger that writes what it is given as it is, one line each.
type plainLog struct {
	mu    *sync.Mutex
	lines *[]string
	with  watermill.LogFields
}

func newPlainLog() plainLog { return plainLog{mu: new(sync.Mutex), lines: new([]string)} }

func (l plainLog) write(msg string, err error, fields watermill.LogFields) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, v := range l.with.Add(fields) {
		if s, ok := v.(string); ok {
			msg += " " + k + "=" + s
		}
	}
	if err != nil {
		msg += " err=" + err.Error()
	}
	*l.lines = append(*l.lines, msg)
}

func (l plainLog) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return *l.lines
}

func (l plainLog) Error(msg string, err error, f watermill.LogFields) { l.write(msg, err, f) }
func (l plainLog) Info(msg string, f watermill.LogFields)             { l.write(msg, nil, f) }
func (l plainLog) Debug(string, watermill.LogFields)                  {}
func (l plainLog) Trace(string, watermill.LogFields)                  {}
func (l plainLog) With(f watermill.LogFields) watermill.LoggerAdapter {
	l.with = l.with.Add(f)
	return l
}

func TestRule25APeersBytesDoNotFloodOrForgeTheLog(t *testing.T) {
	t.Parallel()
	log := newPlainLog()
	r := newRegistry(t, commands.Config{Logger: slog.New(bus.NewLogHandler(log))})
	s := meet(t, r, "peer", everything)
	nasty := "\n2026-01-01 ERROR forged\x1b[2J" + strings.Repeat("x\n", 1<<16)
	for range 1000 {
		m := message.NewMessage("uuid", nil)
		m.Metadata = message.Metadata{"leat-type": nasty, "leat-id": "i" + nasty}
		s.deliver(m)
	}
	s.silent()
	lines := log.all()
	assert.NotEmpty(t, lines)
	assert.Less(t, len(lines), 50)
	for _, line := range lines {
		assert.Less(t, len(line), 16<<10)
		assert.NotContains(t, line, "\n")
		assert.NotContains(t, line, "\x1b")
	}
	assert.EqualValues(t, 1000, s.Link.Stats().Rejected, "each is counted")
}
