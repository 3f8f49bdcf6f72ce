package prompt

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"os"

	"github.com/muesli/cancelreader"
	"golang.org/x/term"
)

// errInterrupted says that the user pressed Ctrl-C: the line, or the question, is given up.
var errInterrupted = errors.New("interrupted")

// question is a request for a line.
type question struct {
	prompt   string
	complete func(line string) []string // what the line may become; nil for none
	command  bool                       // the line goes into the history
}

// console is where lines come from, and where text goes.
type console struct {
	in       io.Reader
	read     func(question) (string, error) // made by open: the next line, io.EOF after the last one
	out, err *screen
	asks     bool // in is a terminal: the user can be asked again
	edits    bool // and lines are edited
}

// newConsole finds out what is a terminal, and what that can do.
func newConsole(in io.Reader, out, err io.Writer) *console {
	c := &console{in: in, out: newScreen(out), err: newScreen(err), asks: terminal(in) != nil}
	if c.asks && c.out.terminal != nil && os.Getenv("TERM") != "dumb" {
		c.edits = true
		if c.err.terminal != nil {
			c.err = c.out // or a log line would tear the one being edited
		}
	}
	return c
}

// terminal returns the terminal that v is, nil if it is none.
func terminal(v any) *os.File {
	if f, ok := v.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// open begins to read lines. When ctx ends, that fails, until stop is called.
func (c *console) open(ctx context.Context) (stop func()) {
	in, stop := interruptible(ctx, c.in)
	switch {
	case c.edits:
		c.read = (&editor{keys: bufio.NewReader(in), screen: c.out, raw: rawMode(terminal(c.in))}).readLine
	case c.asks:
		c.read = plainLines(in, c.err)
	default:
		c.read = plainLines(in, io.Discard)
	}
	return stop
}

// interruptible returns a reader of in whose Read fails when ctx ends, until stop is called.
func interruptible(ctx context.Context, in io.Reader) (r io.Reader, stop func()) {
	c, err := cancelreader.NewReader(in)
	if err != nil { // a file or a device, where Read does not wait
		return in, func() {}
	}
	cancelled := make(chan struct{})
	forget := context.AfterFunc(ctx, func() {
		defer close(cancelled)
		c.Cancel()
	})
	return c, func() {
		if !forget() {
			<-cancelled
		}
		_ = c.Close()
	}
}

// maxLine bounds a line that is read without editing, in bytes.
const maxLine = 1 << 20

// plainLines returns a function that reads lines as they come, and writes prompts before them.
func plainLines(in io.Reader, prompts io.Writer) func(question) (string, error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	return func(q question) (string, error) {
		_, _ = io.WriteString(prompts, q.prompt)
		if lines.Scan() {
			return lines.Text(), nil
		}
		_, _ = io.WriteString(prompts, "\n") // what follows is no answer
		return "", cmp.Or(lines.Err(), io.EOF)
	}
}
