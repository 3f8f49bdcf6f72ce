// Fleet: three worker processes and a caller on one broker. The caller sends
// 10,000 calls, and in the middle of it one worker is killed and started again.
//
//	go run ./examples/fleet                          # NATS, started in this process
//	go run ./examples/fleet redis://127.0.0.1:6379   # or a broker that you have
//
// A line shows the progress, on a terminal always the same one; the last one accounts for
// every call. The exit status is 0 only if it adds up. Results go to standard output, what
// happens to the workers to standard error. Ctrl-C ends it early, workers included.
//
// work.go has the commands, worker.go is a worker, supervisor.go starts, kills and stops workers;
// the rest is the caller and what it shows.
package main

import (
	"cmp"
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
	"github.com/leatbus/leat/pairing/fleet"
)

// lease is the time after which a silent worker counts as dead. The default, 6 s, suits real machines
// better.
const lease = time.Second

// onBroker is what all runs have in common. What they leave on the broker is a minute's messages.
func onBroker(log *slog.Logger) brokers.Options {
	return brokers.Options{Namespace: "leat-examples", Retention: time.Minute, Logger: log}
}

const about = `usage: go run ./examples/fleet [flags] [URL]

Three worker processes and a caller on one broker. In the middle of the calls
one worker is killed and started again; the last line accounts for every call.
URL is that of a broker that you have, such as redis://127.0.0.1:6379; without
one, NATS runs in this process. Ctrl-C ends it early.
`

type options struct {
	calls, callers, workers int
	url                     string
}

// check reports what this machine had better not try.
func (o options) check() error {
	for _, flag := range []struct {
		name       string
		value, max int
	}{{"calls", o.calls, 10_000_000}, {"callers", o.callers, 10_000}, {"workers", o.workers, 32}} {
		if flag.value < 1 || flag.value > flag.max {
			return fmt.Errorf("-%s %d: has to be from 1 to %d", flag.name, flag.value, flag.max)
		}
	}
	return nil
}

var errInterrupted = errors.New("interrupted")

func main() {
	var o options
	flag.IntVar(&o.calls, "calls", 10_000, "number of calls")
	flag.IntVar(&o.callers, "callers", 32, "number of calls at once")
	flag.IntVar(&o.workers, "workers", 3, "number of worker processes")
	id := flag.String("as", "", "run as the worker of this `name`: for the program itself")
	namespace := flag.String("namespace", "", "`name` of this fleet on the broker (default one of its own)")
	usage.Parse(about, 1)
	o.url = flag.Arg(0)
	if *id != "" {
		exit(work(o.url, *namespace, *id))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := run(ctx, o, cmp.Or(*namespace, "fleet-"+bus.NewID()[:8]), openScreen(os.Stdout, os.Stderr))
	if errors.Is(err, context.Canceled) { // while the workers were started
		err = errInterrupted
	}
	exit(err)
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
	if err := o.check(); err != nil {
		return err
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
	workers := newSupervisor(o.url, namespace, s)
	defer workers.stop()
	for i := range o.workers {
		if err := workers.start(ctx, fmt.Sprintf("worker-%d", i+1)); err != nil {
			return err
		}
	}
	registry, err := commands.NewRegistry(commands.Config{ID: "caller", Logger: s.log()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, registry.Close()) }()
	fleet, err := join(ctx, b, registry, fleet.Options{Namespace: namespace, ID: "caller", Lease: lease, Logger: s.log()})
	if err != nil {
		return err
	}
	if err := awaitWorkers(ctx, fleet, o.workers); err != nil {
		return err
	}
	return measure(ctx, o, registry, fleet, workers, s)
}

// join makes the registry one process of the fleet.
func join(ctx context.Context, b *brokers.Broker, r *commands.Registry, o fleet.Options) (*fleet.Fleet, error) {
	fleet, err := b.Fleet(ctx, o)
	if err != nil {
		return nil, err
	}
	if _, err := r.RegisterChannel(ctx, fleet.Channel()); err != nil {
		return nil, errors.Join(err, fleet.Close())
	}
	return fleet, fleet.Ready(ctx)
}

// awaitWorkers waits until that many workers can be called.
func awaitWorkers(ctx context.Context, f *fleet.Fleet, workers int) error {
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
			return fmt.Errorf("%d of %d workers are ready: %w", ready, workers, ctx.Err())
		}
	}
}

// measure makes the calls, and disrupts the workers in the middle of them.
func measure(ctx context.Context, o options, r *commands.Registry, f *fleet.Fleet, workers *supervisor, s *screen) error {
	t := newTally(o.calls)
	disrupted := make(chan error, 1)
	go func() { disrupted <- workers.disrupt(ctx, "worker-"+fmt.Sprint(min(2, o.workers)), t) }()
	called := make(chan struct{})
	go func() {
		defer close(called)
		callAll(ctx, o, r, t)
	}()
	s.follow(t, called)
	err := <-disrupted
	s.last(t, f.Stats().Rerouted)
	switch {
	case ctx.Err() != nil:
		return errors.Join(errInterrupted, t.check())
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
		return nil, "", errors.New("the NATS server did not start within a minute")
	}
	return stop, n.ClientURL(), nil
}
