package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

// LeatLocal calls a handler of the same registry.
func LeatLocal(s Setup) (Peer, error) {
	s.Hops = 0
	return newLeat(s, GoChannelPair, typed)
}

// LeatMemory calls over a pair of registries joined by bus/memory. Both sides share the Go types, and these share no
// memory: values go as they are.
func LeatMemory(s Setup) (Peer, error) { return newLeat(s.withDefaults(), MemoryPair, typed) }

// LeatMemoryJSON is LeatMemory for two sides that do not share the types, as when they are built apart: each encodes
// and decodes.
func LeatMemoryJSON(s Setup) (Peer, error) { return newLeat(s.withDefaults(), MemoryPair, typedApart) }

// LeatMemoryRaw is LeatMemory for those who have bytes and want bytes: neither side decodes them.
func LeatMemoryRaw(s Setup) (Peer, error) { return newLeat(s.withDefaults(), MemoryPair, raw) }

// LeatGoChannel calls over a pair joined by a GoChannel, the default.
func LeatGoChannel(s Setup) (Peer, error) { return newLeat(s.withDefaults(), GoChannelPair, typed) }

// MemoryPair returns the options of a pair over bus/memory.
func MemoryPair() []pairing.Options {
	return []pairing.Options{{PubSub: memory.New(memory.Options{HandOver: true})}}
}

// GoChannelPair returns those of a pair over GoChannel.
func GoChannelPair() []pairing.Options { return nil }

var mathAdd = commands.Define[Sum, int]("math.add", "Add two integers")

// leat is a row of registries: calls are made at the first, the handler is at the last.
type leat struct {
	tree *Tree
	call func(context.Context) error
}

func (l *leat) Call(ctx context.Context) error { return l.call(ctx) }
func (l *leat) Close()                         { l.tree.Close() }

// style registers the command at the tree's leaf, and says how its root calls it.
type style func(t *Tree, req Sum) (call func(context.Context) error, err error)

func newLeat(s Setup, pair func() []pairing.Options, how style) (Peer, error) {
	s.Payload = max(s.Payload, minPayload)
	t, err := NewTree(s.Hops, commands.Config{}, pair)
	if err != nil {
		return nil, err
	}
	call, err := how(t, request(s.Payload))
	if err != nil {
		t.Close()
		return nil, err
	}
	return &leat{t, call}, nil
}

func typed(t *Tree, req Sum) (func(context.Context) error, error) {
	err := commands.Register(context.Background(), t.Leaf(), mathAdd, add)
	root := t.Root()
	return func(ctx context.Context) error { return check(commands.Execute(ctx, root, mathAdd, req)) }, err
}

// theirSum is what the other side calls a Sum.
type theirSum Sum

type theirInt int

var theirAdd = commands.Define[theirSum, theirInt]("math.add", "Add two integers")

func typedApart(t *Tree, req Sum) (func(context.Context) error, error) {
	err := commands.Register(context.Background(), t.Leaf(), theirAdd, func(_ context.Context, q theirSum) (theirInt, error) {
		return theirInt(q.A + q.B), nil
	})
	root := t.Root()
	return func(ctx context.Context) error { return check(commands.Execute(ctx, root, mathAdd, req)) }, err
}

func raw(t *Tree, req Sum) (func(context.Context) error, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	sum := json.RawMessage("18")
	err = t.Leaf().RegisterRaw(context.Background(), bus.Definition{ID: "math.add"}, func(_ context.Context, q json.RawMessage) (json.RawMessage, error) {
		if len(q) != len(body) {
			return nil, fmt.Errorf("a request of %d bytes", len(q))
		}
		return sum, nil
	})
	root := t.Root()
	return func(ctx context.Context) error {
		out, err := root.ExecuteRaw(ctx, "math.add", body)
		if err == nil && string(out) != "18" {
			err = fmt.Errorf("the sum is %s", out)
		}
		return err
	}, err
}

// Tree is a row of registries, each the child of the one before. Close closes them all.
type Tree struct{ registries []*commands.Registry }

// NewTree makes a root with a row of levels registries below it. cfg is that of each, but for ID, RouterChannel and
// Logger; pair makes the options of each link.
func NewTree(levels int, cfg commands.Config, pair func() []pairing.Options) (*Tree, error) {
	t := &Tree{}
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	for i := range levels + 1 {
		cfg.ID, cfg.RouterChannel = fmt.Sprintf("n%d", i), ""
		if i > 0 {
			cfg.RouterChannel = t.Leaf().ID()
		}
		r, err := commands.NewRegistry(cfg)
		if err != nil {
			t.Close()
			return nil, err
		}
		t.registries = append(t.registries, r)
		if i > 0 {
			if err := Join(t.registries[i-1], r, pair()...); err != nil {
				t.Close()
				return nil, err
			}
		}
	}
	return t, nil
}

// Root returns the first registry, Leaf the last.
func (t *Tree) Root() *commands.Registry { return t.registries[0] }

// Leaf returns the last registry.
func (t *Tree) Leaf() *commands.Registry { return t.registries[len(t.registries)-1] }

// Close closes the registries.
func (t *Tree) Close() {
	for _, r := range t.registries {
		_ = r.Close()
	}
}

// Join pairs two registries in memory, by their IDs, and returns when both know each other.
func Join(a, b *commands.Registry, opts ...pairing.Options) error {
	toB, toA := pairing.InMemory(b.ID(), a.ID(), opts...)
	la, err := a.RegisterChannel(context.Background(), toB)
	if err != nil {
		return err
	}
	lb, err := b.RegisterChannel(context.Background(), toA)
	if err != nil {
		return err
	}
	<-la.Ready()
	<-lb.Ready()
	return nil
}
