package crews

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

var mathAdd = commands.Define[sum, int]("math.add", "Add two integers")

// Fleet is a leat fleet.
func Fleet(ctx context.Context, url string, workers int) (*Crew, error) {
	f := team{url: url, namespace: "bench-" + bus.NewID()[:8]}
	if strings.HasPrefix(url, "memory:") || strings.HasPrefix(url, "gochannel:") {
		b, err := f.open(ctx)
		if err != nil {
			return nil, err
		}
		f.shared = b
		f.atEnd(b.Close)
	}
	if err := f.start(ctx, workers); err != nil {
		_ = f.Close()
		return nil, err
	}
	return &f.Crew, nil
}

type team struct {
	Crew
	url, namespace string
	shared         *brokers.Broker // of backends that reach their own connection only; else nil
}

func (f *team) open(ctx context.Context) (*brokers.Broker, error) {
	return brokers.Open(ctx, f.url, brokers.Options{Namespace: "leat-bench", Retention: time.Minute})
}

func (f *team) start(ctx context.Context, workers int) error {
	for i := range workers {
		r, _, err := f.process(ctx, fmt.Sprintf("worker-%d", i))
		if err != nil {
			return err
		}
		add := func(_ context.Context, s sum) (int, error) { return s.A + s.B, nil }
		if err := commands.Register(ctx, r, mathAdd, add); err != nil {
			return err
		}
	}
	caller, member, err := f.process(ctx, "caller")
	if err != nil {
		return err
	}
	f.Call = func(ctx context.Context) error { return check(commands.Execute(ctx, caller, mathAdd, sum{7, 11})) }
	return f.meet(ctx, member, workers)
}

func (f *team) process(ctx context.Context, id string) (*commands.Registry, *fleet.Fleet, error) {
	b := f.shared
	if b == nil {
		var err error
		if b, err = f.open(ctx); err != nil {
			return nil, nil, err
		}
		f.atEnd(b.Close)
	}
	quiet := slog.New(slog.DiscardHandler)
	r, err := commands.NewRegistry(commands.Config{ID: id, Logger: quiet})
	if err != nil {
		return nil, nil, err
	}
	f.atEnd(r.Close)
	member, err := b.Fleet(ctx, fleet.Options{Namespace: f.namespace, ID: id, Logger: quiet})
	if err != nil {
		return nil, nil, err
	}
	f.atEnd(member.Close)
	_, err = r.RegisterChannel(ctx, member.Channel())
	return r, member, err
}

// meet waits until the caller can call all workers.
func (f *team) meet(ctx context.Context, caller *fleet.Fleet, workers int) error {
	if err := caller.Await(ctx, mathAdd.ID()); err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		ready := 0
		for _, m := range caller.Members() {
			ready += len(m.Commands)
		}
		if ready == workers {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
