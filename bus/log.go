package bus

import (
	"context"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill"

	"github.com/leatbus/leat/internal/logging"
)

// NewLogHandler returns a slog.Handler that writes to a Watermill logger, for
// programs that have one of those: Options.Logger = slog.New(NewLogHandler(l)).
// The other direction is watermill.NewSlogLogger. Levels below Debug become
// Trace; Warn becomes Info with a field "level", since Watermill has no warning.
//
// Watermill's loggers write values as they are. So line breaks, escape codes and the like are
// written as in a Go string, stacks included, and a value is cut at 16 KiB.
func NewLogHandler(l watermill.LoggerAdapter) slog.Handler {
	return &logHandler{to: l}
}

type logHandler struct {
	to     watermill.LoggerAdapter
	prefix string // of open groups
}

func (h *logHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	fields := make(watermill.LogFields, r.NumAttrs()+1)
	text := logging.Clean(r.Message, logging.MaxValue)
	var cause error
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok && a.Key == "error" {
			cause = logging.CleanError(err)
			return true
		}
		h.put(fields, h.prefix, a)
		return true
	})
	switch {
	case r.Level >= slog.LevelError:
		h.to.Error(text, cause, fields)
		return nil
	case r.Level >= slog.LevelWarn:
		fields["level"] = r.Level.String()
	}
	if cause != nil {
		fields["error"] = cause
	}
	switch {
	case r.Level >= slog.LevelInfo:
		h.to.Info(text, fields)
	case r.Level >= slog.LevelDebug:
		h.to.Debug(text, fields)
	default:
		h.to.Trace(text, fields)
	}
	return nil
}

// put flattens groups into dotted keys.
func (h *logHandler) put(fields watermill.LogFields, prefix string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() != slog.KindGroup {
		if a.Key != "" {
			fields[logging.Clean(prefix+a.Key, logging.MaxValue)] = logging.CleanField(v)
		}
		return
	}
	if a.Key != "" {
		prefix += a.Key + "."
	}
	for _, g := range v.Group() {
		h.put(fields, prefix, g)
	}
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	fields := make(watermill.LogFields, len(attrs))
	for _, a := range attrs {
		h.put(fields, h.prefix, a)
	}
	return &logHandler{to: h.to.With(fields), prefix: h.prefix}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &logHandler{to: h.to, prefix: h.prefix + name + "."}
}
