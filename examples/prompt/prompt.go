// Package prompt is a command line on a tree of registries: from it a user lists and calls
// commands, emits events and listens to them, and sees what the registries have counted.
//
//	p := prompt.New(prompt.Options{Greeting: "This is root."})
//	log := slog.New(slog.NewTextHandler(p, nil))
//	root, err := commands.NewRegistry(commands.Config{ID: "root", Logger: log})
//	…
//	err = p.Run(ctx, root)
//
// The word help, typed at the prompt, explains the others.
//
// # Terminals
//
// Where Options.In and Options.Out are both a terminal, and TERM is not dumb, lines are edited, with
// a history of 500 lines. Tab completes words and IDs, and inserts an example of a request. Events
// and the log appear above the line being edited. Ctrl-C gives up the line or the running call,
// Ctrl-D on an empty line ends Run. A call without a request asks for each field. Output is coloured,
// unless NO_COLOR is set, and harmless: what a terminal would not print is shown as a dot. A
// character that is two columns wide is edited as if it were one.
//
// # Pipes
//
// Where In is no terminal, lines are executed as they come, up to 1 MiB each, with neither prompt
// nor greeting, and an error names its line. A failure does not end Run, but makes it return
// ErrFailed at the end.
package prompt

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"

	"github.com/leatbus/leat/commands"
)

// The files in the order in which to read them: prompt.go; console.go, screen.go and editor.go read
// lines and write text; session.go executes lines, which parse.go takes apart; list.go, call.go,
// ask.go, events.go, stats.go and help.go are what they say; table.go, schema.go and report.go show.

// ErrFailed is returned by Run when In is no terminal and a line of it failed. What was wrong has
// been written to Options.Err.
var ErrFailed = errors.New("a line failed")

// Options says where a prompt reads and writes. The zero value is that of a program's own console.
type Options struct {
	In       io.Reader // default os.Stdin
	Out      io.Writer // results and events; default os.Stdout
	Err      io.Writer // errors, the log and the greeting; default os.Stderr
	Greeting string    // a line or more to begin with at a terminal; default none
}

// Prompt is a command line. Make it with New.
type Prompt struct {
	console  *console
	greeting string
}

// New returns a prompt, and finds out what is a terminal. It reads nothing yet.
func New(o Options) *Prompt {
	in := cmp.Or[io.Reader](o.In, os.Stdin)
	out, err := cmp.Or[io.Writer](o.Out, os.Stdout), cmp.Or[io.Writer](o.Err, os.Stderr)
	return &Prompt{console: newConsole(in, out, err), greeting: o.Greeting}
}

// Write writes lines to Options.Err, without tearing the line being edited: it is made for the log.
// It may be called at any time, before Run and after it too, from any goroutine.
func (p *Prompt) Write(text []byte) (int, error) { return p.console.err.Write(text) }

// Run reads lines and does what they say, one after the other, with r; others are registries of
// the same tree whose counters the word stats shows beside those of r.
//
// Run returns nil when the user quits or the input ends, ErrFailed if a line of a pipe failed, the
// cause of ctx when that ends first, or the error of In. By then the terminal is as it was, what its
// listeners have queued is printed, for which Run waits up to 5 s, and they are closed. The
// registries stay open. Run closes none of In, Out and Err.
//
// At a terminal Run catches os.Interrupt while a line is executed, and handles no other signal; a
// program that wants the terminal in order after SIGTERM ends ctx, as signal.NotifyContext does.
// ctx interrupts a read of an *os.File; of another In, Run returns when the read does.
//
// Call Run once.
func (p *Prompt) Run(ctx context.Context, r *commands.Registry, others ...*commands.Registry) error {
	stop := p.console.open(ctx)
	defer stop()
	s := newSession(p.console, r, others)
	defer s.close(context.WithoutCancel(ctx))
	s.greet(p.greeting)
	err := s.loop(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil && s.failed {
		return ErrFailed
	}
	return err
}
