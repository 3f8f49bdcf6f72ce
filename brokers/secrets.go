package brokers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
)

// secrets hides words in the errors and the log of clients: a server may quote the user, and a client
// what it was given.
type secrets struct {
	mu    sync.RWMutex
	words []secret // guarded by mu: the longest first
	asked []string // guarded by mu: passwords and users of Credentials.Ask, the latest last
}

// secret is a word to hide.
type secret struct {
	text  string
	alone bool // hidden only where no letter or digit is next to it
}

// shortSecret is how long a password is, in bytes, that is hidden only where it stands alone: text
// without each letter a would be no text.
const shortSecret = 4

// add hides words from now on: names, such as the user's, where they stand alone; others anywhere.
func (s *secrets) add(names, words []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		s.addForms(name, true)
	}
	for _, word := range words {
		s.addForms(word, len(word) < shortSecret)
	}
	s.sort()
}

// addAsked hides what was asked for, and of that the latest only: it may be another one for each connection.
func (s *secrets) addAsked(user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if user != "" {
		s.addForms(user, true)
	}
	if password != "" && !slices.Contains(s.asked, password) {
		s.asked = append(s.asked, password)
		s.addForms(password, len(password) < shortSecret)
	}
	if len(s.asked) > mostAsked {
		old := s.asked[0]
		s.asked = s.asked[1:]
		gone := forms(old)
		s.words = slices.DeleteFunc(s.words, func(w secret) bool { return slices.Contains(gone, w.text) })
	}
	s.sort()
}

// mostAsked is how many passwords that were asked for are hidden.
const mostAsked = 64

func (s *secrets) sort() {
	slices.SortStableFunc(s.words, func(a, b secret) int { return cmp.Compare(len(b.text), len(a.text)) })
}

// addForms adds a word as it is and as it is written in a URL and in quotes. mu is held.
func (s *secrets) addForms(word string, alone bool) {
	for _, form := range forms(word) {
		w := secret{form, alone}
		if form != "" && !slices.Contains(s.words, w) {
			s.words = append(s.words, w)
		}
	}
}

func forms(word string) []string {
	quoted := strconv.Quote(word)
	return []string{word, url.QueryEscape(word), url.PathEscape(word), url.User(word).String(), quoted[1 : len(quoted)-1]}
}

// hide returns the text without what is secret.
func (s *secrets) hide(text string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, w := range s.words {
		text = w.hide(text)
	}
	return text
}

const hidden = "…"

func (w secret) hide(text string) string {
	if !w.alone {
		return strings.ReplaceAll(text, w.text, hidden)
	}
	var b strings.Builder
	for from := 0; ; {
		i := strings.Index(text[from:], w.text)
		if i < 0 {
			b.WriteString(text[from:])
			return b.String()
		}
		at, end := from+i, from+i+len(w.text)
		before, _ := utf8.DecodeLastRuneInString(text[:at])
		after, _ := utf8.DecodeRuneInString(text[end:])
		b.WriteString(text[from:at])
		if wordRune(before) || wordRune(after) {
			b.WriteString(w.text)
		} else {
			b.WriteString(hidden)
		}
		from = end
	}
}

func wordRune(r rune) bool { return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r)) }

// error returns err as others may see it. It is what err is to errors.Is, and to errors.As as far as
// that shows no secret; the client's own value cannot be reached.
func (s *secrets) error(err error) error {
	if err == nil {
		return nil
	}
	s.mu.RLock()
	none := len(s.words) == 0
	s.mu.RUnlock()
	if none {
		return err
	}
	return &clientError{
		text: s.hide(err.Error()),
		is:   func(target error) bool { return errors.Is(err, target) },
		as:   func(target any) bool { return s.as(err, target) },
	}
}

// as is errors.As, but for what would show a secret.
func (s *secrets) as(err error, target any) bool {
	into := reflect.ValueOf(target).Elem()
	before := reflect.New(into.Type()).Elem()
	before.Set(into)
	if !errors.As(err, target) {
		return false
	}
	switch found := into.Interface().(type) {
	case *pgconn.PgError: // the server's answer: callers look at its code
		shown := *found
		for _, text := range []*string{&shown.Message, &shown.Detail, &shown.Hint, &shown.InternalQuery, &shown.Where} {
			*text = s.hide(*text)
		}
		into.Set(reflect.ValueOf(&shown))
		return true
	case error:
		if text := found.Error(); s.hide(text) == text && !tellsAll(found) {
			return true
		}
	}
	into.Set(before)
	return false
}

// tellsAll reports whether an error has, or leads to one that has, the password in a field.
func tellsAll(err error) bool {
	var connecting *pgconn.ConnectError
	var parsing *pgconn.ParseConfigError
	return errors.As(err, &connecting) || errors.As(err, &parsing)
}

// clientError is an error of a client without its secrets.
type clientError struct {
	text string
	is   func(target error) bool
	as   func(target any) bool
}

func (e *clientError) Error() string        { return e.text }
func (e *clientError) Is(target error) bool { return e.is(target) }
func (e *clientError) As(target any) bool   { return e.as(target) }

// logger returns a logger for clients and adapters, which says what l would without the secrets.
func (s *secrets) logger(l *slog.Logger) *slog.Logger {
	return slog.New(&secretHandler{l.Handler(), s})
}

type secretHandler struct {
	slog.Handler
	secrets *secrets
}

func (h *secretHandler) Handle(ctx context.Context, r slog.Record) error {
	shown := slog.NewRecord(r.Time, r.Level, h.secrets.hide(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		shown.AddAttrs(h.secrets.attr(a))
		return true
	})
	return h.Handler.Handle(ctx, shown)
}

func (h *secretHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	shown := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		shown[i] = h.secrets.attr(a)
	}
	return &secretHandler{h.Handler.WithAttrs(shown), h.secrets}
}

func (h *secretHandler) WithGroup(name string) slog.Handler {
	return &secretHandler{h.Handler.WithGroup(name), h.secrets}
}

// attr leaves alone what the program has named itself: a topic may be called like a user.
func (s *secrets) attr(a slog.Attr) slog.Attr {
	switch a.Key {
	case "topic", "subject", "stream", "group":
		return a
	}
	a.Value = a.Value.Resolve()
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(s.hide(a.Value.String()))
	case slog.KindGroup:
		members := a.Value.Group()
		shown := make([]slog.Attr, len(members))
		for i, member := range members {
			shown[i] = s.attr(member)
		}
		a.Value = slog.GroupValue(shown...)
	case slog.KindAny:
		switch v := a.Value.Any().(type) {
		case error:
			a.Value = slog.AnyValue(s.error(v))
		default: // a client's struct may have anything in it
			a.Value = slog.StringValue(s.hide(fmt.Sprintf("%+v", v)))
		}
	}
	return a
}
