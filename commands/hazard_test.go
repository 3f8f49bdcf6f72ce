package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
)

// hazard is user code that breaks once: the n-th time that any of it runs while it is armed.
type hazard struct {
	mu    sync.Mutex
	armed bool   // guarded by mu
	left  int    // guarded by mu: steps until it breaks
	runs  int    // guarded by mu: steps taken while armed
	where string // guarded by mu: what broke
	how   func()
}

func (h *hazard) arm(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.armed, h.left = true, n
}

func (h *hazard) disarm() (runs int, where string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.armed = false
	return h.runs, h.where
}

func (h *hazard) step(where string) {
	h.mu.Lock()
	breaks := false
	if h.armed {
		h.runs++
		h.left--
		breaks = h.left == 0
	}
	if breaks {
		h.where = where
	}
	h.mu.Unlock()
	if breaks {
		h.how()
	}
}

// current is the hazard of the test that runs, for payloads, which are made by decoders.
var current *hazard

// risky is a payload with methods of its own.
type risky struct{ N int }

func (r risky) MarshalJSON() ([]byte, error) {
	current.step("MarshalJSON")
	return json.Marshal(r.N)
}

func (r *risky) UnmarshalJSON(b []byte) error {
	current.step("UnmarshalJSON")
	return json.Unmarshal(b, &r.N)
}

type riskyError struct{ h *hazard }

func (e *riskyError) Error() string        { e.h.step("Error"); return "risky" }
func (e *riskyError) Is(target error) bool { e.h.step("Is"); return target == errRisky }
func (e *riskyError) As(any) bool          { e.h.step("As"); return false }
func (e *riskyError) Unwrap() error        { e.h.step("Unwrap"); return nil }

var errRisky = errors.New("risky")

type riskyContext struct {
	context.Context
	h *hazard
}

func (c riskyContext) Value(key any) any     { c.h.step("ctx.Value"); return c.Context.Value(key) }
func (c riskyContext) Done() <-chan struct{} { c.h.step("ctx.Done"); return c.Context.Done() }
func (c riskyContext) Err() error            { c.h.step("ctx.Err"); return c.Context.Err() }
func (c riskyContext) Deadline() (time.Time, bool) {
	c.h.step("ctx.Deadline")
	return c.Context.Deadline()
}

type riskyCodec struct {
	bus.Codec
	h *hazard
}

func (c riskyCodec) Marshal(e bus.Envelope) (*message.Message, error) {
	c.h.step("Marshal " + string(e.Type))
	return c.Codec.Marshal(e)
}

func (c riskyCodec) Unmarshal(m *message.Message) (bus.Envelope, error) {
	c.h.step("Unmarshal")
	return c.Codec.Unmarshal(m)
}

type riskyLog struct{ h *hazard }

func (l riskyLog) Enabled(context.Context, slog.Level) bool  { l.h.step("log.Enabled"); return true }
func (l riskyLog) Handle(context.Context, slog.Record) error { l.h.step("log.Handle"); return nil }
func (l riskyLog) WithAttrs([]slog.Attr) slog.Handler        { return l }
func (l riskyLog) WithGroup(string) slog.Handler             { return l }

type riskyPublisher struct {
	message.Publisher
	h *hazard
}

func (p riskyPublisher) Publish(topic string, ms ...*message.Message) error {
	p.h.step("Publish")
	return p.Publisher.Publish(topic, ms...)
}

// riskyDirect is riskyPublisher for publishers of bus/memory.
type riskyDirect struct {
	bus.DirectPublisher
	h *hazard
}

func (p riskyDirect) PublishParcels(topic string, ms ...*message.Message) error {
	p.h.step("PublishParcels")
	return p.DirectPublisher.PublishParcels(topic, ms...)
}

func (p riskyDirect) TryPublish(topic string, m *message.Message) bool {
	p.h.step("TryPublish")
	return p.DirectPublisher.TryPublish(topic, m)
}

func riskyMiddleware(h *hazard, where string) []message.HandlerMiddleware {
	return []message.HandlerMiddleware{func(next message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			h.step(where + " before")
			out, err := next(m)
			h.step(where + " after")
			return out, err
		}
	}}
}

// hazardWires are the ways to join the two registries.
var hazardWires = map[string]func(h *hazard, child, parent string) (toChild, toParent *bus.Channel){
	"gochannel": func(_ *hazard, child, parent string) (_, _ *bus.Channel) { return pairing.InMemory(child, parent) },
	"gochannel, codec": func(h *hazard, child, parent string) (_, _ *bus.Channel) {
		return pairing.InMemory(child, parent, pairing.Options{Codec: riskyCodec{bus.Binary, h}})
	},
	"gochannel, JSON, publisher": func(h *hazard, child, parent string) (_, _ *bus.Channel) {
		return riskyPublishers(h)(pairing.InMemory(child, parent, pairing.Options{Codec: bus.JSON}))
	},
	"memory": func(_ *hazard, child, parent string) (_, _ *bus.Channel) {
		return pairing.InMemory(child, parent, pairing.Options{PubSub: memory.New(memory.Options{HandOver: true})})
	},
	"memory, publisher": func(h *hazard, child, parent string) (_, _ *bus.Channel) {
		return riskyPublishers(h)(pairing.InMemory(child, parent, pairing.Options{PubSub: memory.New(memory.Options{HandOver: true})}))
	},
	"memory, codec": func(h *hazard, child, parent string) (_, _ *bus.Channel) {
		return pairing.InMemory(child, parent, pairing.Options{Codec: riskyCodec{bus.JSON, h}, PubSub: memory.New(memory.Options{HandOver: true})})
	},
	"join": func(h *hazard, child, parent string) (toChild, toParent *bus.Channel) {
		ps := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
		toChild, toParent = pairing.Join(ps, ps, parent, child), pairing.Join(ps, ps, child, parent)
		toChild.Codec = riskyCodec{bus.Binary, h}
		toParent.Codec = riskyCodec{bus.Binary, h}
		return riskyPublishers(h)(toChild, toParent)
	},
}

func riskyPublishers(h *hazard) func(a, b *bus.Channel) (_, _ *bus.Channel) {
	return func(a, b *bus.Channel) (_, _ *bus.Channel) {
		for _, ch := range []*bus.Channel{a, b} {
			if d, ok := ch.Publisher.(bus.DirectPublisher); ok {
				ch.Publisher = riskyDirect{d, h}
			} else {
				ch.Publisher = riskyPublisher{ch.Publisher, h}
			}
		}
		return a, b
	}
}

// site is two registries, joined, all of whose user code is risky.
type site struct {
	h          *hazard
	root, leaf *commands.Registry
	all        []*commands.Registry // root and leaf, and what is between them
	links      []*bus.Link
	heard      chan int
}

var (
	askLeaf  = commands.Define[risky, risky]("leaf.ask", "", commands.Options{TTL: time.Second})
	askRoot  = commands.Define[risky, risky]("root.ask", "", commands.Options{TTL: time.Second})
	failLeaf = commands.Define[risky, risky]("leaf.fail", "", commands.Options{TTL: time.Second})
	happened = events.Define[risky]("happened")
)

const hazardTTL = time.Second

func newSite(t *testing.T, wire string, relayed bool, h *hazard, middleware bool) *site {
	current = h
	s := &site{h: h, heard: make(chan int, 100)}
	cfg := commands.Config{RequestTTL: hazardTTL, Logger: slog.New(riskyLog{h})}
	if middleware {
		cfg.Inbound, cfg.Middleware = riskyMiddleware(h, "inbound"), riskyMiddleware(h, "handler")
	}
	cfg.ID = "root"
	s.root = newRegistry(t, cfg)
	path := []*commands.Registry{s.root}
	if relayed {
		cfg.ID, cfg.RouterChannel = "mid", "root"
		path = append(path, newRegistry(t, cfg))
	}
	cfg.ID, cfg.RouterChannel = "leaf", path[len(path)-1].ID()
	s.leaf = newRegistry(t, cfg)
	path = append(path, s.leaf)
	s.all = path
	for i, parent := range path[:len(path)-1] {
		toChild, toParent := hazardWires[wire](h, path[i+1].ID(), parent.ID())
		s.links = append(s.links, attach(t, parent, toChild), attach(t, path[i+1], toParent))
	}
	for _, l := range s.links {
		await(t, l.Ready())
	}
	echo := func(_ context.Context, r risky) (risky, error) { h.step("handler"); return r, nil }
	require.NoError(t, commands.Register(t.Context(), s.leaf, askLeaf, echo))
	require.NoError(t, commands.Register(t.Context(), s.root, askRoot, echo))
	require.NoError(t, commands.Register(t.Context(), s.leaf, failLeaf, func(context.Context, risky) (risky, error) {
		return risky{}, &riskyError{h}
	}))
	for _, r := range []*commands.Registry{s.root, s.leaf} {
		_, err := events.Listen(r.Events(), happened, func(_ context.Context, r risky) {
			h.step("listener")
			s.heard <- r.N
		})
		require.NoError(t, err)
	}
	synctest.Wait()
	return s
}

// use runs everything once, each thing on a goroutine of its own, which may be ended. What comes of it is not asked; no
// panic may come out.
func (s *site) use(t *testing.T) {
	ctx := riskyContext{t.Context(), s.h}
	for _, do := range []func() error{
		func() error { _, err := commands.Execute(ctx, s.root, askLeaf, risky{1}); return err },
		func() error { _, err := commands.Execute(ctx, s.leaf, askRoot, risky{2}); return err },
		func() error { _, err := commands.Execute(ctx, s.leaf, askLeaf, risky{3}); return err },
		func() error { _, err := s.leaf.ExecuteRaw(ctx, "root.ask", json.RawMessage("4")); return err },
		func() error { _, err := commands.Execute(ctx, s.root, failLeaf, risky{5}); return err },
		func() error { _, err := commands.Execute(ctx, s.leaf, failLeaf, risky{6}); return err },
		func() error { return events.Emit(ctx, s.root.Events(), happened, risky{7}) },
		func() error { return s.leaf.Events().EmitRaw(ctx, "happened", json.RawMessage("8")) },
		func() error {
			return s.leaf.RegisterRaw(ctx, bus.Definition{ID: "late"}, func(context.Context, json.RawMessage) (json.RawMessage, error) {
				return nil, nil
			})
		},
	} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() {
				if v := recover(); v != nil {
					assert.Fail(t, "a panic crossed the API", "%v\n%s", v, debug.Stack())
				}
			}()
			_ = do()
		}()
		<-done
		s.leaf.Unregister("late")
	}
}

// intact asserts that nothing is left of what broke, and that everything works.
func (s *site) intact(t *testing.T, broke string) {
	time.Sleep(3 * hazardTTL)
	synctest.Wait()
	for len(s.heard) > 0 {
		<-s.heard
	}
	for _, l := range s.links {
		require.NoError(t, l.Err(), broke)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range 3 { // pooled calls come by again
		for r, c := range map[*commands.Registry]commands.Command[risky, risky]{s.root: askLeaf, s.leaf: askRoot} {
			got, err := commands.Execute(ctx, r, c, risky{41})
			require.NoError(t, err, broke)
			require.Equal(t, 41, got.N, broke)
		}
	}
	for i, r := range []*commands.Registry{s.root, s.leaf} {
		require.NoError(t, events.Emit(ctx, r.Events(), happened, risky{50 + i}), broke)
		synctest.Wait()
		require.Equal(t, []int{50 + i, 50 + i}, []int{<-s.heard, <-s.heard}, broke)
	}
	handle(t, s.leaf, "later", "1")
	require.Equal(t, "1", executes(t, s.root, "later"), broke)
	synctest.Wait()
	for _, r := range s.all {
		st := r.Stats()
		require.Equal(t, [4]int{}, [4]int{st.Pending, st.Serving, st.Waiting, st.Reserved}, "pending, serving, waiting, reserved: %s", broke)
	}
	for _, r := range slices.Backward(s.all) {
		require.NoError(t, r.Shutdown(ctx), broke)
	}
}

// TestRule25UserCodeThatBreaksCostsItsMessage breaks each single run of user code in turn, by a panic and by
// runtime.Goexit, on each wire.
func TestRule25UserCodeThatBreaksCostsItsMessage(t *testing.T) {
	for wire := range hazardWires {
		for _, middleware := range []bool{false, true} {
			breakEach(t, wire, false, middleware)
		}
	}
}

// TestRule25UserCodeThatBreaksCostsItsMessageOnARelay has a registry between the two.
func TestRule25UserCodeThatBreaksCostsItsMessageOnARelay(t *testing.T) {
	for _, wire := range []string{"gochannel, JSON, publisher", "memory, publisher", "join"} {
		breakEach(t, wire, true, false)
	}
}

func breakEach(t *testing.T, wire string, relayed, middleware bool) {
	step := 1
	if testing.Short() {
		step = 7
	}
	for how, breaks := range map[string]func(){"panic": func() { panic("broken") }, "exit": runtime.Goexit} {
		t.Run(fmt.Sprintf("%s, middleware %v, %s", wire, middleware, how), func(t *testing.T) {
			for n, last := 1, false; !last; n += step {
				synctest.Test(t, func(t *testing.T) {
					h := &hazard{how: breaks}
					s := newSite(t, wire, relayed, h, middleware)
					h.arm(n)
					s.use(t)
					runs, where := h.disarm()
					last = runs < n
					s.intact(t, fmt.Sprintf("run %d, %s", n, where))
				})
			}
		})
	}
}
