package prompt

import (
	"io"
	"sync"

	"golang.org/x/term"
)

// screen is where the session, its listeners and the log write. Each Write is whole, and appears
// above the line being edited.
type screen struct {
	mu   sync.Mutex
	w    io.Writer      // guarded by mu, and by line's own lock
	line *term.Terminal // guarded by mu: the line being edited on w; nil for none
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
