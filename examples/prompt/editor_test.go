package prompt

import (
	"bufio"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// display keeps what was written, and lets a test wait for a text.
type display struct {
	mu      sync.Mutex
	changed *sync.Cond
	text    strings.Builder
}

func newDisplay() *display {
	s := &display{}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *display) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Broadcast()
	return s.text.Write(p)
}

// await returns what is there once text is, and what came after it.
func (s *display) await(text string) (after string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if _, after, ok := strings.Cut(s.text.String(), text); ok {
			return after
		}
		s.changed.Wait()
	}
}

// newEditor returns an editor on a terminal of 80 columns, what types at it, and what it shows.
func newEditor(t *testing.T) (*editor, *io.PipeWriter, *display) {
	t.Helper()
	keyboard, typing := io.Pipe()
	t.Cleanup(func() { _ = typing.Close() })
	d := newDisplay()
	raw := func() (func(), error) { return func() {}, nil }
	return &editor{keys: bufio.NewReader(keyboard), screen: &screen{w: d}, raw: raw}, typing, d
}

// typed returns the lines that the keys give, and the error that ends them.
func typed(t *testing.T, keys string, q question) ([]string, error) {
	t.Helper()
	e, typing, _ := newEditor(t)
	go func() {
		_, _ = io.WriteString(typing, keys)
		_ = typing.Close()
	}()
	var lines []string
	for {
		line, err := e.readLine(q)
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
		return starting(line, []string{"list", "listen", "call math.add", "call math.sub", "emit é", "emit è"})
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
		"Ctrl-C in an escape":       {"one\x1b[\x03two\r", []string{"interrupted", "two"}},
		"an endless escape":         {"\x1b" + strings.Repeat("7", 255) + "two\r", []string{"interrupted", "two"}},
		"letters of any language":   {"Zoë日本語\x7f\r", []string{"Zoë日本"}},
		"history":                   {"one\rtwo\r\x1b[A\x1b[A\r", []string{"one", "two", "one"}},
		"history has no given up":   {"one\rtwo\x03\x1b[A\r", []string{"one", "interrupted", "one"}},
		"history has no blank ones": {"one\r\r  \r\x1b[A\r", []string{"one", "", "  ", "one"}},
		"tab completes":             {"liste\t>\r", []string{"listen >"}},
		"tab goes as far as it can": {"ca\ts\t\r", []string{"call math.sub "}},
		"tab cuts no character":     {"em\té\t\r", []string{"emit é "}},
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
	e, typing, _ := newEditor(t)
	go func() { _, _ = io.WriteString(typing, "call\r\x1b[A7\r\x1b[A\r") }()
	var lines []string
	for _, command := range []bool{true, false, true} {
		line, err := e.readLine(question{prompt: "? ", command: command})
		require.NoError(t, err)
		lines = append(lines, line)
	}
	assert.Equal(t, []string{"call", "7", "call"}, lines)
}

// Ctrl-C in the middle of a line leaves all of it to be read.
func TestCtrlCKeepsWhatIsShown(t *testing.T) {
	t.Parallel()
	e, typing, d := newEditor(t)
	go func() { _, _ = io.WriteString(typing, "nonsense\x01\x03") }()
	_, err := e.readLine(question{prompt: "> "})
	require.ErrorIs(t, err, errInterrupted)
	assert.Equal(t, "\x1b[8C^C\n", d.await("\x1b[8D"))
}

// An event that comes while a line is typed is shown above it.
func TestEditorKeepsTheLine(t *testing.T) {
	t.Parallel()
	e, typing, d := newEditor(t)
	done := make(chan string)
	go func() {
		line, _ := e.readLine(question{prompt: "> ", command: true})
		done <- line
	}()
	_, _ = io.WriteString(typing, "ab")
	d.await("b")
	_, _ = io.WriteString(e.screen, "event\n")
	assert.Contains(t, d.await("event\r\n"), "> ab")
	_, _ = io.WriteString(typing, "c\r")
	assert.Equal(t, "abc", <-done)
}
