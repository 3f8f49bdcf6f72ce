package prompt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
)

// session does what lines say. Its methods are called by the goroutine of Run only.
type session struct {
	*console
	registry  *commands.Registry
	others    []*commands.Registry
	verbs     []verb
	listeners []*events.Listener
	patterns  []string // of the listeners
	line      int      // lines read, for errors over a pipe
	failed    bool     // a line of a pipe did not do what it says
}

// errQuit ends the loop.
var errQuit = errors.New("quit")

func newSession(c *console, r *commands.Registry, others []*commands.Registry) *session {
	s := &session{console: c, registry: r, others: others}
	s.verbs = []verb{
		{"list", "", "show the commands", "", s.list, nil},
		{"call", "[ID|NUMBER [JSON]]", "call a command", callHelp, s.call, s.completeCall},
		{"emit", "ID [JSON]", "emit an event", emitHelp, s.emit, nil},
		{"listen", "PATTERN", "print the events that match", listenHelp, s.listen, nil},
		{"stats", "", "show what the registries have counted", "", s.stats, nil},
		{"help", "[WORD]", "explain", "", s.help, s.completeVerb},
		{"quit", "", "leave (so does Ctrl-D)", "", func(context.Context, string) error { return errQuit }, nil},
	}
	return s
}

func (s *session) greet(greeting string) {
	if !s.asks {
		return
	}
	if greeting != "" {
		fmt.Fprintln(s.err, greeting)
	}
	hint := "list shows the commands, help the rest. Tab completes, Ctrl-D leaves."
	if !s.edits {
		hint = strings.Replace(hint, "Tab completes, ", "", 1)
	}
	fmt.Fprintln(s.err, s.err.dim(hint))
}

// loop returns when the user quits, the input ends or cannot be read, or ctx ends.
func (s *session) loop(ctx context.Context) error {
	for ctx.Err() == nil {
		line, err := s.ask(question{prompt: s.out.cyan(s.registry.ID()+">") + " ", complete: s.complete, command: true})
		switch {
		case errors.Is(err, errInterrupted):
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read line %d: %w", s.line+1, err)
		}
		number := s.line
		err = s.execute(ctx, line)
		if errors.Is(err, errQuit) {
			return nil
		}
		if err != nil {
			s.report(number, err)
		}
	}
	return nil
}

func (s *session) ask(q question) (string, error) {
	line, err := s.read(q)
	if err == nil {
		s.line++
	}
	return line, err
}

// execute does what a line says; at a terminal Ctrl-C ends that and no more.
func (s *session) execute(ctx context.Context, line string) error {
	if s.asks {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt)
		defer stop()
	}
	v, arguments, err := s.parse(line)
	if err != nil || v == nil {
		return err
	}
	return v.run(ctx, arguments)
}

// closeTimeout bounds the wait for events on their way to a listener.
const closeTimeout = 5 * time.Second

// close prints what listeners have queued, and closes them.
func (s *session) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	_ = s.registry.Events().Flush(ctx) // what is lost is counted
	for _, l := range s.listeners {
		l.Close()
		select {
		case <-l.Done():
		case <-ctx.Done():
		}
	}
}
