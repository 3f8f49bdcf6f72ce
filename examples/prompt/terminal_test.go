//go:build unix

package prompt_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/term"

	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/examples/prompt"
)

// console is a prompt on a terminal, and the user before it.
type console struct {
	prompt *prompt.Prompt
	tty    *os.File
	before *term.State
	user   *os.File
	ended  chan error

	mu      sync.Mutex
	changed *sync.Cond
	shown   string // guarded by mu: what was not looked at yet
}

func newConsole(t *testing.T, ctx context.Context, r *commands.Registry) *console {
	t.Helper()
	user, tty, err := pty.Open()
	require.NoError(t, err)
	require.NoError(t, pty.Setsize(user, &pty.Winsize{Cols: 80, Rows: 24}))
	before, err := term.GetState(int(tty.Fd()))
	require.NoError(t, err)
	c := &console{tty: tty, before: before, user: user, ended: make(chan error, 1)}
	c.changed = sync.NewCond(&c.mu)
	c.prompt = prompt.New(prompt.Options{In: tty, Out: tty, Err: tty, Greeting: "Hello."})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		buffer := make([]byte, 4096)
		for {
			n, err := user.Read(buffer)
			c.mu.Lock()
			c.shown += string(buffer[:n])
			c.mu.Unlock()
			c.changed.Broadcast()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = tty.Close()
		<-watched
		_ = user.Close()
	})
	go func() { c.ended <- c.prompt.Run(ctx, r) }()
	return c
}

func (c *console) types(keys string) { _, _ = c.user.WriteString(keys) }

// sees waits for a text, and returns what was shown before it.
func (c *console) sees(text string) (before string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		before, after, ok := strings.Cut(c.shown, text)
		if ok {
			c.shown = after
			return before
		}
		c.changed.Wait()
	}
}

func (c *console) endsWith(t *testing.T, want error) {
	t.Helper()
	assert.Equal(t, want, <-c.ended)
	after, err := term.GetState(int(c.tty.Fd()))
	require.NoError(t, err)
	assert.Equal(t, c.before, after, "the terminal is as it was")
}

func TestTerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "1")
	c := newConsole(t, t.Context(), newRegistry(t))
	c.sees("Hello.\r\nlist shows the commands")
	c.sees("app> ")
	c.types("nonsen")
	c.sees("nonsen")
	fmt.Fprintln(c.prompt, "a log line")
	c.sees("a log line\r\napp> nonsen")
	c.types("se\r")
	c.sees("error: no such word: \"nonsense\"\r\n  try: help\r\napp> ")
	c.types("qu\x03")
	c.sees("qu^C\r\napp> ")
	c.types("call\r")
	c.sees("command (number or ID): ")
	c.types("\x04")
	c.sees("\r\ncancelled\r\napp> ")
	c.types("\x04")
	c.endsWith(t, nil)
}

// What a peer answers does not move the cursor.
func TestResultIsHarmless(t *testing.T) {
	t.Setenv("TERM", "xterm")
	r := newRegistry(t)
	evil := commands.Define[struct{}, string]("evil", "Answer with control characters")
	require.NoError(t, commands.Register(t.Context(), r, evil, func(context.Context, struct{}) (string, error) {
		return "\u009b2Jé", nil
	}))
	c := newConsole(t, t.Context(), r)
	c.types("call evil {}\r")
	c.sees("\"·2Jé\"\r\n")
	c.types("quit\r")
	c.endsWith(t, nil)
}

// Ctrl-C, which is a signal while a call runs, ends that call and nothing else.
func TestCtrlCEndsTheCall(t *testing.T) {
	t.Setenv("TERM", "xterm")
	r := newRegistry(t)
	slow := commands.Define[struct{}, int]("slow", "Wait for the end of the call")
	begun := make(chan struct{})
	require.NoError(t, commands.Register(t.Context(), r, slow, func(ctx context.Context, _ struct{}) (int, error) {
		close(begun)
		<-ctx.Done()
		return 0, ctx.Err()
	}))
	c := newConsole(t, t.Context(), r)
	c.types("call slow {}\r")
	<-begun
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGINT))
	c.sees("cancelled")
	c.types("quit\r")
	c.endsWith(t, nil)
}

// The terminal is put back in order when the program is told to end.
func TestTerminalEndsWithItsContext(t *testing.T) {
	t.Setenv("TERM", "xterm")
	ctx, cancel := context.WithCancel(t.Context())
	c := newConsole(t, ctx, newRegistry(t))
	c.sees("app>")
	cancel()
	c.endsWith(t, context.Canceled)
}

// A terminal without escape codes gets none, and lines as they come.
func TestDumbTerminal(t *testing.T) {
	t.Setenv("TERM", "dumb")
	c := newConsole(t, t.Context(), newRegistry(t))
	c.sees("list shows the commands, help the rest. Ctrl-D leaves.\r\n")
	c.types("stats\nquit\n")
	shown := c.sees("messages rejected")
	assert.NotContains(t, shown, "\x1b")
	c.endsWith(t, nil)
}
