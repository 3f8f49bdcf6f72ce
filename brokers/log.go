package brokers

import (
	"context"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill"
)

type adapterLogger = watermill.LoggerAdapter

// adapterLog is what the adapters log to: at Debug, whatever they think of
// it. A cancelled subscription and a lost connection are errors to them, over
// and over. Where nobody wants Debug it costs nothing: they log several times a message, and
// Watermill's own adapter for slog makes its attributes before it asks.
func adapterLog(l *slog.Logger) adapterLogger {
	if !l.Enabled(context.Background(), slog.LevelDebug) {
		return watermill.NopLogger{}
	}
	return watermill.NewSlogLoggerWithLevelMapping(l, map[slog.Level]slog.Level{
		slog.LevelError: slog.LevelDebug,
		slog.LevelInfo:  slog.LevelDebug,
		slog.LevelDebug: watermill.LevelTrace,
	})
}
