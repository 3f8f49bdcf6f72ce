package scale

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/leatbus/leat/bench/internal/peers"
	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

type number struct {
	N int `json:"n"`
}

var next = commands.Define[number, int]("bench.next", "Add one")

func addOne(_ context.Context, v number) (int, error) { return v.N + 1, nil }

// callNext is the operation of most rigs: a typed call.
func callNext(r *commands.Registry) func(context.Context) error {
	return func(ctx context.Context) error {
		n, err := commands.Execute(ctx, r, next, number{41})
		if err == nil && n != 42 {
			err = fmt.Errorf("the result is %d", n)
		}
		return err
	}
}

func newTree(levels int, cfg commands.Config) (*peers.Tree, error) {
	t, err := peers.NewTree(levels, cfg, peers.MemoryPair)
	if err != nil {
		return nil, err
	}
	if err := commands.Register(context.Background(), t.Leaf(), next, addOne); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Commands registers n commands at the child of a pair, which makes them known to the root. An item is one command, on
// both sides.
func Commands(n int) (*Rig, error) {
	before := Used()
	t, err := newTree(1, commands.Config{})
	if err != nil {
		return nil, err
	}
	answer := func(context.Context, json.RawMessage) (json.RawMessage, error) { return json.RawMessage("1"), nil }
	for i := range n - 1 {
		def := bus.Definition{ID: fmt.Sprintf("bench.command%d", i)}
		if err := t.Leaf().RegisterRaw(context.Background(), def, answer); err != nil {
			t.Close()
			return nil, err
		}
	}
	return &Rig{callNext(t.Root()), (Used() - before) / float64(n), t.Close}, nil
}

// Channels joins n children with one registry and calls one of them; the others are idle. An item is a channel with the
// registry behind it.
func Channels(n int) (*Rig, error) {
	before := Used()
	t, err := newTree(1, commands.Config{})
	if err != nil {
		return nil, err
	}
	var idle []*commands.Registry
	closeAll := func() {
		for _, r := range idle {
			_ = r.Close()
		}
		t.Close()
	}
	for i := range n - 1 {
		r, err := commands.NewRegistry(commands.Config{ID: fmt.Sprintf("idle%d", i), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err == nil {
			idle = append(idle, r)
			err = peers.Join(t.Root(), r, peers.MemoryPair()...)
		}
		if err != nil {
			closeAll()
			return nil, err
		}
	}
	return &Rig{callNext(t.Root()), (Used() - before) / float64(n), closeAll}, nil
}

// InFlight parks n calls in the handler of a pair. An item is such a call, with the goroutines of its caller and its handler.
func InFlight(n int) (*Rig, error) {
	before := Used()
	t, err := newTree(1, commands.Config{MaxInFlight: n + 16, MaxBacklog: n + 16, QueueSize: n + 16, RequestTTL: time.Hour})
	if err != nil {
		return nil, err
	}
	var arrived, left sync.WaitGroup
	gate := make(chan struct{})
	err = t.Leaf().RegisterRaw(context.Background(), bus.Definition{ID: "bench.park"}, func(context.Context, json.RawMessage) (json.RawMessage, error) {
		arrived.Done()
		<-gate
		return nil, nil
	})
	if err != nil {
		t.Close()
		return nil, err
	}
	arrived.Add(n)
	for range n {
		left.Go(func() {
			if _, err := t.Root().ExecuteRaw(context.Background(), "bench.park", nil); err != nil {
				panic(err) // a parked call cannot fail, and nobody waits for it
			}
		})
	}
	arrived.Wait()
	return &Rig{callNext(t.Root()), (Used() - before) / float64(n), func() {
		close(gate)
		left.Wait()
		t.Close()
	}}, nil
}

// Depth builds a tree of n levels below the root. An item is a level.
func Depth(n int) (*Rig, error) {
	before := Used()
	t, err := newTree(n, commands.Config{})
	if err != nil {
		return nil, err
	}
	return &Rig{callNext(t.Root()), (Used() - before) / float64(n), t.Close}, nil
}
