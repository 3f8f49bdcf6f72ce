package brokers

import (
	"log/slog"

	"github.com/ThreeDotsLabs/watermill"
)

type adapterLogger = watermill.LoggerAdapter

// adapterLog is what the adapters log to: at Debug, whatever they think of
// it. A cancelled subscription and a lost connection are errors to them, over
// and over.
func adapterLog(l *slog.Logger) adapterLogger {
	return watermill.NewSlogLoggerWithLevelMapping(l, map[slog.Level]slog.Level{
		slog.LevelError: slog.LevelDebug,
		slog.LevelInfo:  slog.LevelDebug,
		slog.LevelDebug: watermill.LevelTrace,
	})
}
