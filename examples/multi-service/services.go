package main

import (
	"context"
	"errors"
	"log/slog"
	"math/big"

	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
)

// tree is two registries. What is registered at worker is known at root too.
type tree struct {
	root, worker *commands.Registry
}

type operands struct {
	A int64 `json:"a"`
	B int64 `json:"b"`
}

// computed is the payload of the event that worker emits after each calculation.
type computed struct {
	Command string `json:"command"`
	Result  int64  `json:"result"`
}

func startTree(ctx context.Context, log *slog.Logger) (*tree, error) {
	root, err := commands.NewRegistry(commands.Config{ID: "root", Logger: log})
	if err != nil {
		return nil, err
	}
	worker, err := commands.NewRegistry(commands.Config{ID: "worker", RouterChannel: "root", Logger: log})
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	t := &tree{root: root, worker: worker}
	if err := t.join(ctx); err != nil {
		return nil, errors.Join(err, t.stop(ctx))
	}
	return t, nil
}

// join connects the registries and registers the commands. When it returns,
// each command can be called from both.
func (t *tree) join(ctx context.Context) error {
	toWorker, toRoot := pairing.InMemory("worker", "root")
	if _, err := t.root.RegisterChannel(ctx, toWorker); err != nil {
		return err
	}
	if _, err := t.worker.RegisterChannel(ctx, toRoot); err != nil {
		return err
	}
	return errors.Join(
		greet(ctx, t.root, "greet.hello", "Say hello", "Hello"),
		greet(ctx, t.root, "greet.farewell", "Say goodbye", "Goodbye"),
		calculate(ctx, t.worker, "math.add", "Add b to a", (*big.Int).Add),
		calculate(ctx, t.worker, "math.sub", "Take b from a", (*big.Int).Sub),
		calculate(ctx, t.worker, "math.mul", "Multiply a by b", (*big.Int).Mul),
	)
}

func greet(ctx context.Context, r *commands.Registry, id, description, word string) error {
	c := commands.Define[string, string](id, description)
	return commands.Register(ctx, r, c, func(_ context.Context, name string) (string, error) {
		return word + ", " + name + "!", nil
	})
}

func calculate(ctx context.Context, r *commands.Registry, id, description string, op func(z, a, b *big.Int) *big.Int) error {
	c := commands.Define[operands, int64](id, description)
	done := events.Define[computed]("math.computed")
	return commands.Register(ctx, r, c, func(ctx context.Context, o operands) (int64, error) {
		z := op(new(big.Int), big.NewInt(o.A), big.NewInt(o.B))
		if !z.IsInt64() {
			return 0, commands.Errorf(commands.InvalidRequest, "the result, %v, does not fit in 64 bits", z)
		}
		return z.Int64(), events.Emit(ctx, r.Events(), done, computed{Command: id, Result: z.Int64()})
	})
}

// stop waits for what is under way, until ctx ends, and closes both registries.
func (t *tree) stop(ctx context.Context) error { return commands.ShutdownAll(ctx, t.root, t.worker) }
