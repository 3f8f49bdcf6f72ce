package prompt

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// editor reads lines from a terminal, with editing, history and completion.
type editor struct {
	keys    *bufio.Reader
	screen  *screen
	raw     func() (restore func(), err error)
	history history
}

// rawMode returns a function that puts a terminal into raw mode. That lasts while a line is read:
// in between, Ctrl-C is a signal.
func rawMode(tty *os.File) func() (func(), error) {
	return func() (func(), error) {
		before, err := term.MakeRaw(int(tty.Fd()))
		return func() { _ = term.Restore(int(tty.Fd()), before) }, err
	}
}

func (e *editor) readLine(q question) (string, error) {
	t := term.NewTerminal(keyboard{&keys{from: e.keys}, e.screen.w}, q.prompt)
	t.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
		if key != '\t' || q.complete == nil {
			return "", 0, false
		}
		before := e.tab(line[:pos], q.complete)
		return before + line[pos:], len(before), true
	}
	if q.command {
		t.History = &e.history
	}
	if width := e.screen.width(); width > 0 {
		_ = t.SetSize(width, 1) // writes nothing yet; the height does not matter
	}
	restore, err := e.raw()
	if err != nil {
		return "", err
	}
	e.screen.edit(t)
	line, err := t.ReadLine()
	restore()
	switch {
	case errors.Is(err, errInterrupted):
		e.screen.edited("^C\n")
	case err != nil: // the cursor is still in the line
		e.screen.edited("\n")
	default:
		e.screen.edited("")
	}
	return line, err
}

// keyboard is the terminal that package term reads and writes.
type keyboard struct {
	io.Reader
	io.Writer
}

// keys hands on what is typed, up to Ctrl-C, which package term would take for the end of input.
type keys struct {
	from        *bufio.Reader
	interrupted bool
}

const ctrlC, ctrlE = 0x03, 0x05

// Read returns one byte, so that what is typed ahead stays in from.
func (k *keys) Read(p []byte) (int, error) {
	if k.interrupted || len(p) == 0 { // no room: an endless escape sequence
		return 0, errInterrupted
	}
	b, err := k.from.ReadByte()
	if err != nil {
		return 0, err
	}
	if b == ctrlC {
		k.interrupted, b = true, ctrlE // first to the end of the line
	}
	p[0] = b
	return 1, nil
}

// tab returns what the text before the cursor becomes. Where it cannot grow, tab shows what there is
// to choose from.
func (e *editor) tab(before string, complete func(string) []string) string {
	options := complete(before)
	switch len(options) {
	case 0:
		return before
	case 1:
		return options[0] + " "
	}
	if common := commonPrefix(options); len(common) > len(before) {
		return common
	}
	shown := make([]string, len(options))
	for i, o := range options {
		shown[i] = o[strings.LastIndexByte(o, ' ')+1:]
	}
	_, _ = io.WriteString(e.screen, strings.Join(shown, "  ")+"\n")
	return before
}

func commonPrefix(words []string) string {
	prefix := words[0]
	for _, w := range words[1:] {
		for !strings.HasPrefix(w, prefix) {
			_, size := utf8.DecodeLastRuneInString(prefix)
			prefix = prefix[:len(prefix)-size]
		}
	}
	return prefix
}

// maxHistory bounds the lines that are remembered.
const maxHistory = 500

// history remembers lines, oldest first, none twice in a row. It implements term.History.
type history []string

func (h *history) Add(line string) {
	line = strings.TrimSpace(line)
	if line == "" || len(*h) > 0 && h.At(0) == line {
		return
	}
	*h = append(*h, line)
	*h = (*h)[max(0, len(*h)-maxHistory):]
}

func (h *history) Len() int        { return len(*h) }
func (h *history) At(i int) string { return (*h)[len(*h)-1-i] }
