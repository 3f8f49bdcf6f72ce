package main

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/term"
)

// errInterrupted: the user has pressed Ctrl-C, and wants this line no more.
var errInterrupted = errors.New("interrupted")

// question is a request for a line.
type question struct {
	prompt   string
	complete func(line string) []string // what the line may become; nil for none
	command  bool                       // the line goes into the history
}

// liner reads lines. After the last one it returns io.EOF.
type liner interface {
	ReadLine(ctx context.Context, q question) (string, error)
}

// console is the user's side: where lines come from, and where text goes.
type console struct {
	lines    liner
	out, err io.Writer // safe for concurrent use
	paint    painter   // for out
	errPaint painter   // for err
	width    func() int
	asks     bool // somebody is there who can be asked again
}

// openConsole finds out what is a terminal, and what that can do.
func openConsole(stdin, stdout, stderr *os.File) *console {
	smart := os.Getenv("TERM") != "dumb"
	in, out, err := isTerminal(stdin), isTerminal(stdout), isTerminal(stderr)
	c := &console{
		out:      &serial{w: stdout},
		err:      &serial{w: stderr},
		paint:    painter{out && smart && os.Getenv("NO_COLOR") == ""},
		errPaint: painter{err && smart && os.Getenv("NO_COLOR") == ""},
		width:    func() int { return widthOf(stdout) },
		asks:     in,
	}
	switch {
	case in && out && smart:
		e := newEditor(stdin, stdout, rawMode(stdin, stdout))
		c.lines, c.out = e, e
		if err {
			c.err = e // or a log line would tear the one being edited
		}
	case in:
		c.lines = newPlainLines(stdin, c.err)
	default:
		c.lines = newPlainLines(stdin, io.Discard)
	}
	return c
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// widthOf returns the columns of a terminal, 0 for anything else.
func widthOf(f *os.File) int {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}
