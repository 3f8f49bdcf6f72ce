// Fleet: three worker processes and a caller on one broker. The caller sends
// 10,000 calls, and in the middle of it one worker is killed and started again.
//
//	go run ./examples/fleet                          # NATS, started in this process
//	go run ./examples/fleet redis://127.0.0.1:6379   # or a broker that you have
//
// A line tells how it goes, on a terminal always the same one; the last one accounts for
// every call. The exit status is 0 only if it adds up. Results go to standard output, what
// happens to the workers to standard error. Ctrl-C ends it early, workers included.
//
// work.go has the commands, worker.go what a worker is; the rest is the caller.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/examples/internal/usage"
	"github.com/leatbus/leat/pairing"
)

// lease is after how long a worker that is not heard of is given up. The default, 6 s, suits real machines better.
const lease = time.Second

// onBroker is what all runs share there: what they leave behind is a minute's messages.
func onBroker(log *slog.Logger) brokers.Options {
	return brokers.Options{Namespace: "leat-examples", Retention: time.Minute, Logger: log}
}

const about = `usage: go run ./examples/fleet [flags] [URL]

Three worker processes and a caller on one broker. In the middle of the calls one worker is killed
and started again; the last line accounts for every call. URL is that of a broker that you have,
such as redis://127.0.0.1:6379; without one, NATS runs in this process. Ctrl-C ends it early.
`

type options struct {
	calls, callers, workers int
	url                     string
}

func main() {
	var o options
	flag.IntVar(&o.calls, "calls", 10_000, "how many")
	flag.IntVar(&o.callers, "callers", 32, "how many at once")
	flag.IntVar(&o.workers, "workers", 3, "processes")
	id := flag.String("as", "", "be the worker of that name (the program starts itself so)")
	namespace := flag.String("namespace", "fleet-"+bus.NewID()[:8], "keeps this fleet apart from others")
	usage.Parse(about, 1)
	o.url = flag.Arg(0)
	if *id != "" {
		exit(work(o.url, *namespace, *id))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	exit(run(ctx, o, *namespace, openScreen(os.Stdout, os.Stderr)))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run starts everything, and ends it whatever happens.
func run(ctx context.Context, o options, namespace string, s *screen) (err error) {
	if o.calls < 1 || o.callers < 1 || o.workers < 1 {
		return errors.New("calls, callers and workers have to be at least 1")
	}
	if o.url == "" {
		stop, url, err := startNATS()
		if err != nil {
			return err
		}
		defer stop()
		o.url = url
	}
	b, err := brokers.Open(ctx, o.url, onBroker(s.log()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if scheme, _, _ := strings.Cut(o.url, ":"); scheme == "memory" || scheme == "gochannel" {
		return fmt.Errorf("%s stays in one process", scheme)
	}
	if err := b.Check(ctx); err != nil {
		return err
	}
	c := newCrew(o.url, namespace, s)
	defer c.dismiss()
	for i := range o.workers {
		if err := c.hire(ctx, fmt.Sprintf("worker-%d", i+1)); err != nil {
			return err
		}
	}
	registry, err := commands.NewRegistry(commands.Config{ID: "caller", Logger: s.log()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, registry.Close()) }()
	fleet, err := join(ctx, b, registry, pairing.FleetOptions{Namespace: namespace, ID: "caller", Lease: lease, Logger: s.log()})
	if err != nil {
		return err
	}
	if err := meet(ctx, fleet, o.workers); err != nil {
		return err
	}
	return measure(ctx, o, registry, fleet, c, s)
}

// join makes the registry one process of the fleet.
func join(ctx context.Context, b *brokers.Broker, r *commands.Registry, o pairing.FleetOptions) (*pairing.Fleet, error) {
	fleet, err := b.Fleet(ctx, o)
	if err != nil {
		return nil, err
	}
	if _, err := r.RegisterChannel(ctx, fleet.Channel()); err != nil {
		return nil, errors.Join(err, fleet.Close())
	}
	return fleet, fleet.Ready(ctx)
}

// meet waits until that many workers can be called.
func meet(ctx context.Context, f *pairing.Fleet, workers int) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := f.Await(ctx, quote.ID(), order.ID()); err != nil {
		return fmt.Errorf("wait for the workers: %w", err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ready := 0
		for _, m := range f.Members() {
			if len(m.Commands) > 0 {
				ready++
			}
		}
		if ready >= workers {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d workers are there: %w", ready, workers, ctx.Err())
		}
	}
}

// measure makes the calls, and trouble in the middle of them.
func measure(ctx context.Context, o options, r *commands.Registry, f *pairing.Fleet, c *crew, s *screen) error {
	t := newTally(o.calls)
	trouble := make(chan error, 1)
	go func() { trouble <- c.trouble(ctx, "worker-"+fmt.Sprint(min(2, o.workers)), t) }()
	called := make(chan struct{})
	go func() {
		defer close(called)
		callAll(ctx, o, r, t)
	}()
	s.follow(t, called)
	err := <-trouble
	s.last(t, f.Stats().Rerouted)
	switch {
	case ctx.Err() != nil:
		return errors.Join(errors.New("interrupted"), t.check())
	case err != nil:
		return err
	}
	return t.check()
}

func startNATS() (stop func(), url string, err error) {
	n, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		return nil, "", err
	}
	n.Start()
	stop = func() {
		n.Shutdown()
		n.WaitForShutdown()
	}
	if !n.ReadyForConnections(time.Minute) {
		stop()
		return nil, "", errors.New("the NATS server does not come up")
	}
	return stop, n.ClientURL(), nil
}
