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
	paint    painter // for out
	errPaint painter // for err
	width    func() int
	asks     bool                                                  // in is a terminal: the user can be asked again
	raw      func() (restore func(), width, height int, err error) // puts it into raw mode; nil if no line is edited
}

// newConsole finds out what is a terminal, and what that can do.
func newConsole(in io.Reader, out, err io.Writer) *console {
	smart := os.Getenv("TERM") != "dumb"
	coloured := smart && os.Getenv("NO_COLOR") == ""
	inFile, inTerminal := terminal(in)
	outFile, outTerminal := terminal(out)
	_, errTerminal := terminal(err)
	c := &console{
		in:       in,
		out:      &screen{w: out},
		err:      &screen{w: err},
		paint:    painter{outTerminal && coloured},
		errPaint: painter{errTerminal && coloured},
		width:    func() int { return 0 },
		asks:     inTerminal,
	}
	if outTerminal {
		c.width = func() int { return widthOf(outFile) }
	}
	if inTerminal && outTerminal && smart {
		c.raw = rawMode(inFile, outFile)
		if errTerminal {
			c.err = c.out // or a log line would tear the one being edited
		}
	}
	return c
}

// terminal returns the file that v is, and whether it is a terminal.
func terminal(v any) (*os.File, bool) {
	f, ok := v.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// widthOf returns the columns of a terminal, 0 if it does not tell.
func widthOf(f *os.File) int {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// open begins to read lines. When ctx ends, that fails, until stop is called.
func (c *console) open(ctx context.Context) (stop func()) {
	in, stop := interruptible(ctx, c.in)
	switch {
	case c.raw != nil:
		c.read = (&editor{keys: bufio.NewReader(in), screen: c.out, raw: c.raw}).readLine
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
