package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/leatbus/leat/commands"
)

// repl reads lines and does what they say, one after the other.
type repl struct {
	console   *console
	tree      *tree
	root      *commands.Registry // the tree's: where the prompt is
	verbs     []verb
	listening []string // patterns
	line      int      // lines read, for errors over a pipe
	failed    bool     // a line did not do what it says
}

// verb is the first word of a line.
type verb struct {
	name, arguments, help string
	more                  string // what help NAME says besides
	run                   func(ctx context.Context, arguments string) error
	complete              func(arguments string) []string // what they may become; may be nil
}

func newREPL(c *console, t *tree) *repl {
	r := &repl{console: c, tree: t, root: t.root}
	r.verbs = []verb{
		{"list", "", "show the commands", "", r.list, nil},
		{"call", "[ID|NUMBER [JSON]]", "call a command", callHelp, r.call, r.completeCall},
		{"emit", "ID [JSON]", "emit an event", emitHelp, r.emit, nil},
		{"listen", "PATTERN", "print the events that match", listenHelp, r.listen, nil},
		{"stats", "", "show what the registries have counted", "", r.stats, nil},
		{"help", "[WORD]", "explain", "", r.help, r.completeHelp},
		{"quit", "", "leave (so does Ctrl-D)", "", func(context.Context, string) error { return errQuit }, nil},
	}
	return r
}

// errQuit ends the loop.
var errQuit = errors.New("quit")

// loop returns when the user quits, the input ends, or it cannot be read.
func (r *repl) loop(ctx context.Context) error {
	r.greet()
	for {
		line, err := r.ask(ctx, question{prompt: r.prompt(), complete: r.complete, command: true})
		switch {
		case errors.Is(err, errInterrupted):
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		number := r.line
		err = r.interruptible(ctx, line)
		if errors.Is(err, errQuit) {
			return nil
		}
		if err != nil {
			r.report(number, err)
		}
	}
}

func (r *repl) greet() {
	if r.console.asks {
		fmt.Fprintf(r.console.err, "Registries root and worker, joined in memory; this prompt is on root.\n%s\n",
			r.console.errPaint.dim("list shows the commands, help the rest. Tab completes, Ctrl-D leaves."))
	}
}

func (r *repl) prompt() string { return r.console.paint.cyan("root>") + " " }

func (r *repl) ask(ctx context.Context, q question) (string, error) {
	line, err := r.console.lines.ReadLine(ctx, q)
	if err == nil {
		r.line++
	}
	return line, err
}

// interruptible runs a line; at a terminal Ctrl-C ends that and no more.
func (r *repl) interruptible(ctx context.Context, line string) error {
	if r.console.asks {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt)
		defer stop()
	}
	return r.run(ctx, line)
}

func (r *repl) run(ctx context.Context, line string) error {
	word, arguments := cutWord(line)
	switch word {
	case "exit":
		word = "quit"
	case "?":
		word = "help"
	}
	if word == "" || strings.HasPrefix(word, "#") {
		return nil
	}
	v := r.verb(word)
	if v == nil {
		return r.unknown(word, arguments)
	}
	if v.arguments == "" && arguments != "" {
		return problem(fmt.Sprintf("%s takes nothing after it", v.name), v.name)
	}
	return v.run(ctx, arguments)
}

func (r *repl) verb(name string) *verb {
	for i := range r.verbs {
		if r.verbs[i].name == name {
			return &r.verbs[i]
		}
	}
	return nil
}

// unknown says what the line may have been meant to be.
func (r *repl) unknown(word, arguments string) error {
	text := fmt.Sprintf("no such word: %q", word)
	if r.lookup(word) != nil {
		return problem(text, strings.TrimSpace("call "+word+" "+arguments))
	}
	names := make([]string, len(r.verbs))
	for i, v := range r.verbs {
		names[i] = v.name
	}
	if s := suggest(word, names); s != "" {
		return problem(text, strings.TrimSpace(s+" "+arguments))
	}
	return problem(text, "help")
}

// cutWord returns the first word, and what follows it.
func cutWord(s string) (word, rest string) {
	s = strings.TrimSpace(s)
	if i := strings.IndexAny(s, " \t"); i >= 0 {
		return s[:i], strings.TrimSpace(s[i:])
	}
	return s, ""
}
