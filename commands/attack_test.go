package commands_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

// pairings are the ways to join two registries in one process.
var pairings = []struct {
	name string
	make func() pairing.Options
}{
	{"gochannel", func() pairing.Options { return pairing.Options{} }},
	{"gochannel, JSON", func() pairing.Options { return pairing.Options{Codec: bus.JSON} }},
	{"memory", func() pairing.Options {
		return pairing.Options{PubSub: memory.New(memory.Options{HandOver: true})}
	}},
	{"memory, JSON", func() pairing.Options {
		return pairing.Options{PubSub: memory.New(memory.Options{}), Codec: bus.JSON}
	}},
}

func nothing(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil }

func family(t testing.TB) (root, child *commands.Registry) {
	t.Helper()
	root = newRegistry(t, commands.Config{ID: "root", MaxInFlight: 10_000})
	child = newRegistry(t, commands.Config{ID: "child", RouterChannel: "root", MaxInFlight: 10_000})
	return root, child
}

// Replies come in the very instant of the deadline, so calls are reused while it is looked at.
func TestACallIsNotTimedOutByTheDeadlineOfTheOneBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const ttl = 30 * time.Millisecond
		root, child := family(t)
		join(t, root, child)
		handleFunc(t, child, "slow", func(context.Context, json.RawMessage) (json.RawMessage, error) {
			time.Sleep(ttl)
			return nil, nil
		})
		slow := commands.Define[commands.Void, commands.Void]("slow", "", commands.Options{TTL: ttl})
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				for range 10 {
					start := time.Now()
					_, err := commands.Execute(context.Background(), root, slow, commands.Void{})
					if took := time.Since(start); !assert.GreaterOrEqual(t, took, ttl, "%v", err) {
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestACallerWhoseDeadlineIsTheTTLGetsAllOfIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const ttl = 30 * time.Millisecond
		root, child := family(t)
		join(t, root, child)
		handleFunc(t, child, "slow", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		slow := commands.Define[commands.Void, commands.Void]("slow", "", commands.Options{TTL: ttl})
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				for range 10 {
					start := time.Now()
					ctx, cancel := context.WithTimeout(context.Background(), ttl)
					_, err := commands.Execute(ctx, root, slow, commands.Void{})
					cancel()
					if took := time.Since(start); !assert.Equal(t, ttl, took, "%v", err) {
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

type ownError struct{ text string }

func (e *ownError) Error() string { return e.text }

func TestAHandlersTypedNilErrorIsAnInternalError(t *testing.T) {
	t.Parallel()
	for name, nilError := range map[string]error{"of the user's type": (*ownError)(nil), "of type Error": (*commands.Error)(nil)} {
		for _, remote := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, remote %v", name, remote), func(t *testing.T) {
				t.Parallel()
				root, child := family(t)
				join(t, root, child)
				handleFunc(t, child, "x", func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nilError })
				caller := child
				if remote {
					caller = root
				}
				_, err := caller.ExecuteRaw(within(t), "x", nil)
				require.ErrorIs(t, err, commands.ErrInternal)
			})
		}
	}
}

func TestADefinitionThatPeersCouldNotReadIsRefused(t *testing.T) {
	t.Parallel()
	for name, def := range map[string]bus.Definition{
		"description not UTF-8":   {ID: "a", Description: "caf\xe9"},
		"ID not UTF-8":            {ID: "caf\xe9"},
		"schema with a key twice": {ID: "a", Schema: &bus.Schema{Request: []byte(`{"type":"object","type":"object"}`)}},
		"schema not UTF-8":        {ID: "a", Schema: &bus.Schema{Request: []byte("{\"title\":\"caf\xe9\"}")}},
	} {
		for _, attached := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, attached %v", name, attached), func(t *testing.T) {
				t.Parallel()
				root, child := family(t)
				if attached {
					join(t, root, child)
				}
				require.ErrorIs(t, child.RegisterRaw(within(t), def, nothing), commands.ErrInvalidRequest)
			})
		}
	}
}

func TestAnErrorWithoutCodeIsAnInternalErrorWithItsText(t *testing.T) {
	t.Parallel()
	failing(t, &commands.Error{Message: "no such user"}, func(t *testing.T, err error) {
		require.ErrorIs(t, err, commands.ErrInternal)
		require.EqualError(t, err, "no such user")
	})
}

func TestAnErrorWhoseTextIsNotUTF8KeepsItsCode(t *testing.T) {
	t.Parallel()
	failing(t, commands.Errorf(commands.NotFound, "no user caf\xe9"), func(t *testing.T, err error) {
		require.ErrorIs(t, err, commands.ErrNotFound)
	})
}

// failing calls a command that fails, locally and over each codec.
func failing(t *testing.T, failure error, check func(*testing.T, error)) {
	for name, codec := range map[string]bus.Codec{"binary": bus.Binary, "JSON": bus.JSON} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, child := family(t)
			join(t, root, child, pairing.Options{Codec: codec})
			handleFunc(t, child, "x", func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, failure })
			for _, caller := range []*commands.Registry{child, root} {
				_, err := caller.ExecuteRaw(within(t), "x", nil)
				check(t, err)
			}
		})
	}
}

func TestARemoteHandlersContextSaysWhyItEnded(t *testing.T) {
	t.Parallel()
	root, child := family(t)
	join(t, root, child)
	began, cause := make(chan struct{}), make(chan error, 1)
	handleFunc(t, child, "x", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		close(began)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithCancel(within(t))
	go func() {
		<-began
		cancel()
	}()
	_, err := root.ExecuteRaw(ctx, "x", nil)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, await(t, cause), context.Canceled)
}

func TestAReplyBeyondTheCallersLimitFailsTheCallAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		root := newRegistry(t, commands.Config{ID: "root", MaxMessageBytes: 1024})
		child := newRegistry(t, commands.Config{ID: "child", RouterChannel: "root"})
		join(t, root, child)
		handle(t, child, "x", `"`+strings.Repeat("x", 5000)+`"`)
		start := time.Now()
		_, err := root.ExecuteRaw(context.Background(), "x", nil)
		require.ErrorIs(t, err, commands.ErrInternal)
		require.Less(t, time.Since(start), time.Second, "the caller was left to the timeout")
	})
}

var oddIDs = []string{
	"a b", "a\nb", "ä.ö", "日本", "a%20b", "a\x00b", "a/b?c#d", " ", "\U0001F600", "a\u2028b", strings.Repeat("x", 1<<16),
}

// mixedTree is a root, and below it, by way of a JSON link, a leaf on a binary one.
func mixedTree(t *testing.T) (root, leaf *commands.Registry) {
	root = newRegistry(t, commands.Config{ID: "root"})
	mid := newRegistry(t, commands.Config{ID: "mid", RouterChannel: "root"})
	leaf = newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "mid"})
	join(t, root, mid, pairing.Options{Codec: bus.JSON})
	join(t, mid, leaf)
	return root, leaf
}

func TestACommandMayHaveAnyIDInAMixedTree(t *testing.T) {
	t.Parallel()
	root, leaf := mixedTree(t)
	echo := func(_ context.Context, req json.RawMessage) (json.RawMessage, error) { return req, nil }
	for _, id := range append([]string{".", "..", "*", ">"}, oddIDs...) {
		handleFunc(t, leaf, id, echo)
		for _, req := range []string{`12345678901234567890123`, `null`, `{"a":1.0}`, `"\u0000"`, ` [1, 2] `} {
			res, err := root.ExecuteRaw(within(t), id, []byte(req))
			require.NoError(t, err, "%.20q(%s)", id, req)
			require.JSONEq(t, req, string(res), "%.20q(%s)", id, req)
		}
	}
}

func TestANumberOfManyDigitsCrossesAMixedTreeAsItIs(t *testing.T) {
	t.Parallel()
	root, leaf := mixedTree(t)
	const big = `12345678901234567890123` // no float64 holds it
	handleFunc(t, leaf, "x", func(_ context.Context, req json.RawMessage) (json.RawMessage, error) { return req, nil })
	res, err := root.ExecuteRaw(within(t), "x", []byte(big))
	require.NoError(t, err)
	require.Equal(t, big, string(res))
}

func TestAnEventMayHaveAnyIDInAMixedTree(t *testing.T) {
	t.Parallel()
	root, leaf := mixedTree(t)
	for _, id := range oddIDs {
		got := make(chan string, 1)
		l, err := leaf.Events().ListenRaw(id, func(_ context.Context, id string, p json.RawMessage) { got <- id + string(p) })
		require.NoError(t, err)
		require.NoError(t, root.Events().EmitRaw(within(t), id, []byte(`7`)))
		require.Equal(t, id+`7`, await(t, got))
		l.Close()
	}
}

func TestMetadataArrivesAsItIsWithoutLeatsOwnKeys(t *testing.T) {
	t.Parallel()
	for _, p := range pairings {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			root, child := family(t)
			join(t, root, child, p.make())
			got := make(chan message.Metadata, 1)
			handleFunc(t, child, "x", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
				got <- bus.MetadataFrom(ctx)
				return nil, nil
			})
			sent := message.Metadata{"k": "a b\nc", "leat-depth": "9", "leat-zzz": "1"}
			_, err := root.ExecuteRaw(bus.WithMetadata(within(t), sent), "x", nil)
			require.NoError(t, err)
			require.Equal(t, message.Metadata{"k": "a b\nc"}, await(t, got))
		})
	}
}

func TestARegistryAttachedToItselfStillEndsEveryCall(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{ID: "a", RouterChannel: "x"})
	handle(t, r, "c", "1")
	x, y := pairing.InMemory("x", "y")
	lx, ly := attach(t, r, x), attach(t, r, y)
	await(t, lx.Ready())
	await(t, ly.Ready())
	require.Equal(t, "1", executes(t, r, "c"))
	_, err := r.ExecuteRaw(within(t), "nope", nil)
	require.ErrorIs(t, err, commands.ErrNotFound)
}
