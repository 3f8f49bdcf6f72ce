package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/term"
)

// editor reads lines from a terminal, with editing, history and completion.
// What is written to it, from any goroutine, appears above the line that is
// being edited. ReadLine is for one goroutine.
type editor struct {
	term        *term.Terminal
	keys        *keys
	raw         func() (restore func(), width, height int, err error)
	screen      io.Writer
	question    question
	history     history
	interrupted bool        // by Ctrl-C, in the line that is read
	finished    bool        // by Ctrl-D, likewise
	ended       atomic.Bool // nothing is edited any more
}

// newEditor returns an editor on a terminal. raw puts that into raw mode,
// which lasts while a line is read: in between, Ctrl-C is a signal.
func newEditor(keyboard io.Reader, screen io.Writer, raw func() (func(), int, int, error)) *editor {
	e := &editor{keys: &keys{from: keyboard}, raw: raw, screen: screen}
	e.term = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{e.keys, screen}, "")
	e.term.AutoCompleteCallback = e.pressed
	e.term.History = &e.history
	return e
}

// rawMode is what newEditor needs for a real terminal.
func rawMode(in, out *os.File) func() (func(), int, int, error) {
	return func() (func(), int, int, error) {
		before, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return nil, 0, 0, err
		}
		restore := func() { _ = term.Restore(int(in.Fd()), before) }
		width, height, err := term.GetSize(int(out.Fd()))
		if err != nil || width <= 0 {
			width, height = 80, 24
		}
		return restore, width, height, nil
	}
}

// ReadLine implements liner. When ctx ends first, the goroutine that waits
// for a key stays, since nothing ends a read of a terminal: the caller is
// about to exit.
func (e *editor) ReadLine(ctx context.Context, q question) (string, error) {
	restore, width, height, err := e.raw()
	if err != nil {
		return "", err
	}
	defer restore()
	_ = e.term.SetSize(width, height) // fails where writing the prompt will
	e.term.SetPrompt(q.prompt)
	e.question, e.interrupted, e.finished, e.history.open = q, false, false, q.command

	type answer struct {
		line string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := e.term.ReadLine()
		answers <- answer{line, err}
	}()
	select {
	case a := <-answers:
		return e.answered(a.line, a.err)
	case <-ctx.Done():
		e.end()
		return "", ctx.Err()
	}
}

func (e *editor) answered(line string, err error) (string, error) {
	switch {
	case err != nil && !errors.Is(err, term.ErrPasteIndicator):
		e.end()
		return "", err
	case e.interrupted:
		return "", errInterrupted
	case e.finished:
		return "", io.EOF
	}
	return line, nil
}

// end leaves the line as it is, and lets what comes follow it.
func (e *editor) end() {
	if e.ended.CompareAndSwap(false, true) {
		_, _ = io.WriteString(e.screen, "\r\n")
	}
}

// Write implements io.Writer.
func (e *editor) Write(p []byte) (int, error) {
	if e.ended.Load() {
		return e.screen.Write(p)
	}
	return e.term.Write(p)
}

// pressed is called by the terminal for keys that mean nothing to itself.
func (e *editor) pressed(line string, pos int, key rune) (string, int, bool) {
	switch key {
	case keyInterrupt:
		e.interrupted, e.history.open = true, false
		return line + "^C", len(line) + 2, true
	case keyEnd:
		if line == "" {
			e.finished = true
			e.keys.enter()
			return "", 0, true
		}
		_, size := utf8.DecodeRuneInString(line[pos:])
		return line[:pos] + line[pos+size:], pos, true
	case '\t':
		before, after := e.tab(line[:pos]), line[pos:]
		return before + after, len(before), true
	}
	return "", 0, false
}

// tab returns what the text before the cursor becomes. Where it cannot grow,
// it shows what there is to choose from.
func (e *editor) tab(before string) string {
	if e.question.complete == nil {
		return before
	}
	options := e.question.complete(before)
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
	_, _ = io.WriteString(e, strings.Join(shown, "  ")+"\n")
	return before
}

func commonPrefix(words []string) string {
	prefix := words[0]
	for _, w := range words[1:] {
		for !strings.HasPrefix(w, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
	}
	return prefix
}
