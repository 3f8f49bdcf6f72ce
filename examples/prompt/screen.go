package prompt

import (
	"io"
	"os"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/term"
)

// screen is where the session, its listeners and the log write. Each Write is whole, and appears
// above the line being edited.
type screen struct {
	terminal *os.File // nil if w is none
	coloured bool

	mu   sync.Mutex
	w    io.Writer      // guarded by mu, and by line's own lock
	line *term.Terminal // guarded by mu: the line being edited on w; nil for none
}

func newScreen(w io.Writer) *screen {
	t := terminal(w)
	return &screen{terminal: t, coloured: t != nil && os.Getenv("TERM") != "dumb" && os.Getenv("NO_COLOR") == "", w: w}
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != nil {
		return s.line.Write(p)
	}
	return s.w.Write(p)
}

// edit says that a line is edited from now on.
func (s *screen) edit(line *term.Terminal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line = line
}

// edited says that it is no more, and writes what ends it.
func (s *screen) edited(end string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line = nil
	_, _ = io.WriteString(s.w, end)
}

// width returns the columns of the terminal, 0 if there are none.
func (s *screen) width() int {
	if s.terminal == nil {
		return 0
	}
	width, _, _ := term.GetSize(int(s.terminal.Fd())) // 0 with an error
	return width
}

func (s *screen) bold(text string) string { return s.paint("1", text) }
func (s *screen) dim(text string) string  { return s.paint("2", text) }
func (s *screen) red(text string) string  { return s.paint("31", text) }
func (s *screen) cyan(text string) string { return s.paint("36", text) }

func (s *screen) paint(code, text string) string {
	if !s.coloured || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// printable makes text from a peer harmless to a terminal, and one line.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, text)
}
