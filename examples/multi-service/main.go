// Multi-service: two registries in one process, root and worker, and a prompt
// on root from which to call commands and to watch events, wherever they live.
//
//	go run ./examples/multi-service
//	printf 'call math.add {"a":7,"b":11}\nquit\n' | go run ./examples/multi-service
//
// Type help. On a terminal there are line editing, history and Tab. Results
// go to standard output, errors and the log to standard error; over a pipe
// the exit status is 1 if a line failed.
//
// services.go has what leat is about; the rest is the prompt.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/leatbus/leat/examples/internal/usage"
)

const about = `usage: go run ./examples/multi-service

Two registries in one process, root and worker, and a prompt on root from which to call commands
and to watch events, wherever they live. At the prompt, help explains. It reads from a pipe too:

  printf 'call math.add {"a":7,"b":11}\nquit\n' | go run ./examples/multi-service

Results go to standard output, errors and the log to standard error; over a pipe the exit status
is 1 if a line failed.`

func main() {
	usage.Parse(about, 0)
	ctx := context.Background()
	c := openConsole(os.Stdin, os.Stdout, os.Stderr)
	if c.asks {
		// The loop has to end by itself, to leave the terminal in order.
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGTERM)
		defer stop()
	}
	ok, err := run(ctx, c)
	if ctx.Err() != nil {
		err = errors.New("terminated")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "multi-service:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run reports whether every line did what it says.
func run(ctx context.Context, c *console) (ok bool, err error) {
	log := slog.New(slog.NewTextHandler(c.err, nil))
	t, err := startTree(ctx, log)
	if err != nil {
		return false, err
	}
	defer func() {
		// Events on their way to a listener are still printed.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if stopErr := t.stop(ctx); err == nil {
			err = stopErr
		}
	}()
	r := newREPL(c, t)
	err = r.loop(ctx)
	return c.asks || !r.failed, err
}
