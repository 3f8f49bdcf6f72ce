package logging

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxValue bounds the bytes of one value in a line, MaxStack those of a stack. What is cut says how long it was.
const (
	MaxValue = 1024
	MaxStack = 16 << 10
)

// maxGroup bounds the members of a group.
const maxGroup = 64

// Clean returns s fit for one line of any log: line breaks, escape codes, and whatever else does not print, are written as in
// a Go string, and what is longer than limit bytes is cut. It leaves alone what is clean and no longer than that.
func Clean(s string, limit int) string {
	total := len(s)
	if total > limit {
		s = s[:limit]
		for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) { // do not leave half a letter
			s = s[:len(s)-1]
		}
		if r, size := utf8.DecodeLastRuneInString(s); r == utf8.RuneError && size == 1 {
			s = s[:len(s)-1]
		}
	}
	if !printable(s) {
		s = escaped(s)
	}
	if total > limit {
		s += fmt.Sprintf("... (%d bytes)", total)
	}
	return s
}

func printable(s string) bool {
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) {
			return false
		}
		i += size
	}
	return true
}

func escaped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteString(s[i : i+size])
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += size
	}
	return b.String()
}

// cleanAttr returns a with its value clean. Values that are not numbers, times or the like become their text.
func cleanAttr(a slog.Attr) slog.Attr {
	a.Value = cleanValue(a.Key, a.Value)
	a.Key = Clean(a.Key, MaxValue)
	return a
}

func cleanValue(key string, v slog.Value) slog.Value {
	v = v.Resolve()
	switch v.Kind() {
	case slog.KindString:
		if key == "stack" {
			return slog.StringValue(cutStack(v.String()))
		}
		return slog.StringValue(Clean(v.String(), MaxValue))
	case slog.KindGroup:
		group := v.Group()
		cleaned := make([]slog.Attr, 0, min(len(group), maxGroup))
		for _, a := range group[:min(len(group), maxGroup)] {
			cleaned = append(cleaned, cleanAttr(a))
		}
		return slog.GroupValue(cleaned...)
	case slog.KindAny:
		switch v := v.Any().(type) {
		case nil:
			return slog.AnyValue(nil)
		case error:
			return slog.AnyValue(CleanError(v))
		}
		return slog.StringValue(Clean(fmt.Sprint(v.Any()), MaxValue))
	}
	return v
}

func cutStack(s string) string {
	if len(s) > MaxStack {
		return s[:MaxStack] + "..."
	}
	return s
}

// CleanError returns err if its text is clean, else an error with the clean text, and with err as its cause.
func CleanError(err error) error {
	text := fmt.Sprint(err) // it survives an Error that panics
	clean := Clean(text, MaxValue)
	if clean == text {
		return err
	}
	return &cleanError{clean, err}
}

type cleanError struct {
	text string
	err  error
}

func (e *cleanError) Error() string { return e.text }
func (e *cleanError) Unwrap() error { return e.err }

// CleanField returns a value for a log that knows no [slog.Value]: numbers, times and the like as they are, everything else as
// clean text of at most about [MaxStack] bytes.
func CleanField(v slog.Value) any {
	v = v.Resolve()
	switch v.Kind() {
	case slog.KindString:
		return Clean(v.String(), MaxStack)
	case slog.KindAny:
		switch v := v.Any().(type) {
		case nil:
			return nil
		case error:
			return CleanError(v)
		}
		return Clean(fmt.Sprint(v.Any()), MaxStack)
	}
	return v.Any()
}
