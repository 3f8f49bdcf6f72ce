// Multi-service: two registries in one process, root and worker, and a prompt
// on root from which to call commands and to watch events, wherever they live.
//
//	go run ./examples/multi-service
//	printf 'call math.add {"a":7,"b":11}\nquit\n' | go run ./examples/multi-service
//
// Type help. services.go has the services and what joins them; the prompt is a package of its own.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/leatbus/leat/examples/internal/usage"
	"github.com/leatbus/leat/examples/prompt"
)

const about = `usage: go run ./examples/multi-service

Two registries in one process, root and worker, and a prompt on root from which
to call commands and to watch events of both. At the prompt, help explains. It
reads from a pipe too:

  printf 'call math.add {"a":7,"b":11}' | go run ./examples/multi-service

Results go to standard output, errors and the log to standard error; over a pipe
the exit status is 1 if a line failed.`

func main() {
	usage.Parse(about, 0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := run(ctx)
	if err != nil && !errors.Is(err, prompt.ErrFailed) { // those are reported line by line
		fmt.Fprintln(os.Stderr, "multi-service:", err)
	}
	if err != nil {
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	p := prompt.New(prompt.Options{Greeting: "Registries root and worker, joined in memory; this prompt is on root."})
	t, err := startTree(ctx, slog.New(slog.NewTextHandler(p, nil)))
	if err != nil {
		return err
	}
	err = p.Run(ctx, t.root, t.worker)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return cmp.Or(t.stop(ctx), err)
}
