package main

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leatbus/leat/examples/internal/program"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(program.Exit)) }

// screen keeps what was written, and lets a test wait for a text.
type screen struct {
	mu      sync.Mutex
	changed *sync.Cond
	text    strings.Builder
}

func newScreen() *screen {
	s := &screen{}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Broadcast()
	return s.text.Write(p)
}

// await returns what is there once text is, and what came after it.
func (s *screen) await(text string) (after string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if _, after, ok := strings.Cut(s.text.String(), text); ok {
			return after
		}
		s.changed.Wait()
	}
}

func terminal(t *testing.T) (*editor, io.Writer, *screen) {
	t.Helper()
	keyboard, typing := io.Pipe()
	t.Cleanup(func() { _ = typing.Close() })
	s := newScreen()
	return newEditor(keyboard, s, func() (func(), int, int, error) { return func() {}, 80, 24, nil }), typing, s
}

// typed returns the lines that the keys give, and the error that ends them.
func typed(t *testing.T, keys string, q question) ([]string, error) {
	t.Helper()
	e, typing, _ := terminal(t)
	go func() {
		_, _ = io.WriteString(typing, keys)
		_ = typing.(io.Closer).Close()
	}()
	var lines []string
	for {
		line, err := e.ReadLine(t.Context(), q)
		if err == errInterrupted {
			line, err = "interrupted", nil
		}
		if err != nil {
			return lines, err
		}
		lines = append(lines, line)
	}
}

func TestEditor(t *testing.T) {
	t.Parallel()
	words := func(line string) []string {
		return starting(line, []string{"list", "listen", "call math.add", "call math.sub"})
	}
	for name, test := range map[string]struct {
		keys  string
		lines []string
	}{
		"lines":                     {"one\rtwo\r", []string{"one", "two"}},
		"backspace":                 {"onf\x7fe\r", []string{"one"}},
		"Ctrl-C clears the line":    {"nonsense\x03one\r", []string{"interrupted", "one"}},
		"Ctrl-D leaves":             {"one\r\x04two\r", []string{"one"}},
		"Ctrl-D deletes in a line":  {"éone\x01\x04\r", []string{"one"}},
		"Ctrl-\\ means nothing":     {"o\x1cn\x1de\r", []string{"one"}},
		"history":                   {"one\rtwo\r\x1b[A\x1b[A\r", []string{"one", "two", "one"}},
		"history has no given up":   {"one\rtwo\x03\x1b[A\r", []string{"one", "interrupted", "one"}},
		"history has no blank ones": {"one\r\r  \r\x1b[A\r", []string{"one", "", "  ", "one"}},
		"tab completes":             {"liste\t>\r", []string{"listen >"}},
		"tab goes as far as it can": {"ca\ts\t\r", []string{"call math.sub "}},
		"tab shows the rest":        {"list\t\r", []string{"list"}},
		"tab knows nothing":         {"x\ty\r", []string{"xy"}},
		"tab in a line":             {"> b\x01liste\t\r", []string{"listen > b"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines, err := typed(t, test.keys, question{prompt: "> ", complete: words, command: true})
			require.ErrorIs(t, err, io.EOF)
			assert.Equal(t, test.lines, lines)
		})
	}
}

// Answers to questions are no commands: they neither go into the history nor
// come out of it.
func TestEditorAsks(t *testing.T) {
	t.Parallel()
	e, typing, _ := terminal(t)
	go func() { _, _ = io.WriteString(typing, "call\r\x1b[A7\r\x1b[A\r") }()
	var lines []string
	for _, command := range []bool{true, false, true} {
		line, err := e.ReadLine(t.Context(), question{prompt: "? ", command: command})
		require.NoError(t, err)
		lines = append(lines, line)
	}
	assert.Equal(t, []string{"call", "7", "call"}, lines)
}

// An event that comes while a line is typed is shown above it.
func TestEditorKeepsTheLine(t *testing.T) {
	t.Parallel()
	e, typing, s := terminal(t)
	done := make(chan string)
	go func() {
		line, _ := e.ReadLine(t.Context(), question{prompt: "> ", command: true})
		done <- line
	}()
	_, _ = io.WriteString(typing, "ab")
	s.await("b")
	_, _ = io.WriteString(e, "event\n")
	assert.Contains(t, s.await("event\r\n"), "> ab")
	_, _ = io.WriteString(typing, "c\r")
	assert.Equal(t, "abc", <-done)
}

// The terminal is put back in order when the program is told to end.
func TestEditorEndsWithItsContext(t *testing.T) {
	t.Parallel()
	keyboard, typing := io.Pipe()
	defer typing.Close()
	restored := make(chan struct{})
	e := newEditor(keyboard, newScreen(), func() (func(), int, int, error) { return func() { close(restored) }, 80, 24, nil })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := e.ReadLine(ctx, question{prompt: "> "})
	require.ErrorIs(t, err, context.Canceled)
	<-restored
}
