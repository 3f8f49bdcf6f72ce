package commands_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

type outcome struct {
	body json.RawMessage
	err  error
}

func goExecute(t testing.TB, r *commands.Registry, id string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		body, err := r.ExecuteRaw(within(t), id, nil)
		done <- outcome{body, err}
	}()
	return done
}

func knows(r *commands.Registry, id string) bool {
	for _, c := range r.Commands() {
		if c.ID == id {
			return true
		}
	}
	return false
}

func TestRule07AnAnswerOfAnotherTypeEndsNothing(t *testing.T) {
	t.Parallel()
	overWires(t, func(t *testing.T, link func(a, b string) (chA, chB *bus.Channel)) {
		r := newRegistry(t, commands.Config{ID: "r"})
		f := invade(t, r, "peer", 0, offering(`[{"id":"x"}]`), link)
		done := goExecute(t, r, "x")
		ask := f.wants(bus.ExecuteRequest)
		f.say(bus.Envelope{ID: "1", Type: bus.RegisterResponse, Thread: ask.ID})
		f.say(bus.Envelope{ID: "2", Type: bus.RegisterResponse, Thread: ask.ID, Fault: &bus.Fault{Code: "duplicate_command"}})
		f.say(bus.Envelope{ID: "3", Type: bus.ExecuteResponse, Thread: ask.ID, Body: []byte(`"result"`)})
		got := await(t, done)
		require.NoError(t, got.err)
		assert.Equal(t, `"result"`, string(got.body), "an ack of a registration is no result")
		assert.EqualValues(t, 2, f.Link.Stats().Rejected)
	})
}

func TestRule10AResultAcksNoRegistration(t *testing.T) {
	t.Parallel()
	overWires(t, func(t *testing.T, link func(a, b string) (chA, chB *bus.Channel)) {
		r := newRegistry(t, commands.Config{ID: "r", RouterChannel: "up"})
		f := invade(t, r, "up", 0, offering(`[]`), link)
		registered := make(chan error, 1)
		go func() { registered <- r.RegisterRaw(within(t), bus.Definition{ID: "x"}, nothing) }()
		ask := f.wants(bus.RegisterRequest)
		f.say(bus.Envelope{ID: "1", Type: bus.ExecuteResponse, Thread: ask.ID, Body: []byte(`1`)})
		f.say(bus.Envelope{ID: "2", Type: bus.RegisterResponse, Thread: ask.ID, Fault: &bus.Fault{Code: "duplicate_command"}})
		require.ErrorIs(t, await(t, registered), commands.ErrDuplicateCommand)
		assert.EqualValues(t, 1, f.Link.Stats().Rejected)
	})
}

// A handler of a peer that flags nothing may say not_found. The command is forgotten if the peer lists it no more.
func TestRule11NotFoundOfAForeignHandlerForgetsNoCommand(t *testing.T) {
	t.Parallel()
	overWires(t, func(t *testing.T, link func(a, b string) (chA, chB *bus.Channel)) {
		up := newRegistry(t, commands.Config{ID: "up"})
		r := newRegistry(t, commands.Config{ID: "r", RouterChannel: "up"})
		join(t, up, r)
		asked := make(chan struct{}, 16)
		list := make(chan string, 1)
		list <- `[{"id":"user.get"},{"id":"user.put"}]`
		f := invade(t, r, "peer", 0, func() string {
			asked <- struct{}{}
			l := <-list
			list <- l
			return l
		}, link)
		await(t, asked)
		f.say(bus.Envelope{ID: "reg", Type: bus.RegisterRequest, Body: json.RawMessage(`{"id":"user.get"}`)})
		f.wants(bus.RegisterResponse)
		refuse := func(id string) {
			done := goExecute(t, up, id)
			if !knows(up, id) {
				done = goExecute(t, r, id)
			}
			ask := f.wants(bus.ExecuteRequest)
			f.say(bus.Envelope{ID: bus.NewID(), Type: bus.ExecuteResponse, Thread: ask.ID, Fault: &bus.Fault{Code: "not_found", Message: "user 2 not found"}})
			got := await(t, done)
			require.ErrorIs(t, got.err, commands.ErrNotFound)
			assert.EqualError(t, got.err, "user 2 not found")
		}
		refuse("user.get")
		await(t, asked)
		done := goExecute(t, up, "user.get")
		ask := f.wants(bus.ExecuteRequest)
		f.say(bus.Envelope{ID: "ok", Type: bus.ExecuteResponse, Thread: ask.ID, Body: []byte(`"user 1"`)})
		got := await(t, done)
		require.NoError(t, got.err)
		assert.Equal(t, `"user 1"`, string(got.body))
		assert.Zero(t, r.Stats().Evicted)
		assert.True(t, knows(up, "user.get") && knows(r, "user.put"))

		<-list
		list <- `[{"id":"user.put"}]`
		refuse("user.get")
		eventually(t, "a command that the peer lists no more is forgotten", func() bool { return !knows(r, "user.get") && !knows(up, "user.get") })
		assert.True(t, knows(r, "user.put"))
		assert.EqualValues(t, 1, r.Stats().Evicted)
	})
}

// However often a foreign handler says not_found, its peer is asked for its list once in a while.
func TestRule24NotFoundOfAForeignHandlerAsksForTheListOnceInAWhile(t *testing.T) {
	t.Parallel()
	overWires(t, func(t *testing.T, link func(a, b string) (chA, chB *bus.Channel)) {
		r := newRegistry(t, commands.Config{ID: "r"})
		var asked atomic.Int64
		f := invade(t, r, "peer", 0, func() string { asked.Add(1); return `[{"id":"x"}]` }, link)
		for range 200 {
			done := goExecute(t, r, "x")
			ask := f.wants(bus.ExecuteRequest)
			f.say(bus.Envelope{ID: bus.NewID(), Type: bus.ExecuteResponse, Thread: ask.ID, Fault: &bus.Fault{Code: "not_found", Message: "no"}})
			require.ErrorIs(t, await(t, done).err, commands.ErrNotFound)
		}
		require.NoError(t, f.Link.Close())
		await(t, f.Link.Done())
		assert.Less(t, asked.Load(), int64(60), "200 calls")
	})
}

// chainOver links n registries, each the router of the next, and registers x at the last.
func chainOver(t *testing.T, n int, link func(a, b string) (chA, chB *bus.Channel)) []*commands.Registry {
	rs := make([]*commands.Registry, n)
	for i := range rs {
		cfg := commands.Config{ID: fmt.Sprint("r", i)}
		if i > 0 {
			cfg.RouterChannel = fmt.Sprint("r", i-1)
		}
		rs[i] = newRegistry(t, cfg)
		if i > 0 {
			down, up := link(rs[i].ID(), rs[i-1].ID())
			a, b := attach(t, rs[i-1], down), attach(t, rs[i], up)
			await(t, a.Ready())
			await(t, b.Ready())
		}
	}
	settle(t, rs...)
	handle(t, rs[n-1], "x", `1`)
	for _, r := range rs {
		eventually(t, "x is known", func() bool { return knows(r, "x") })
	}
	return rs
}

func TestRule08ARequestOutOfHopsForgetsNoRoute(t *testing.T) {
	t.Parallel()
	overWires(t, func(t *testing.T, link func(a, b string) (chA, chB *bus.Channel)) {
		rs := chainOver(t, 20, link)
		for range 3 {
			_, err := rs[0].ExecuteRaw(within(t), "x", nil)
			require.ErrorIs(t, err, commands.ErrNotFound)
		}
		settle(t, rs...)
		for i, r := range rs {
			assert.True(t, knows(r, "x"), "registry %d", i)
			assert.Zero(t, r.Stats().Evicted)
		}
		assert.Equal(t, "1", executes(t, rs[4], "x"), "16 hops")
	})
}

func TestRule08AHostileHopCountForgetsNoRoute(t *testing.T) {
	t.Parallel()
	overWires(t, func(t *testing.T, link func(a, b string) (chA, chB *bus.Channel)) {
		rs := chainOver(t, 4, link)
		f := invade(t, rs[0], "peer", everything, offering(`[]`), link)
		for hops := bus.MaxHops - 3; hops <= bus.MaxHops+1; hops++ {
			f.say(bus.Envelope{ID: fmt.Sprint("hops ", hops), Type: bus.ExecuteRequest, Name: "x", Hops: hops})
			got := f.wants(bus.ExecuteResponse)
			if hops == bus.MaxHops-3 {
				require.Nil(t, got.Fault)
				continue
			}
			require.NotNil(t, got.Fault)
			assert.Equal(t, "not_found", got.Fault.Code)
			assert.False(t, got.Fault.Unrouted)
		}
		settle(t, rs...)
		for _, r := range rs {
			assert.True(t, knows(r, "x"))
			assert.Zero(t, r.Stats().Evicted)
		}
		assert.Equal(t, "1", executes(t, rs[0], "x"))
	})
}

// A ring of routers, in which a command is served, and one is looked for in vain.
func TestRule08ARingForgetsNoRoute(t *testing.T) {
	t.Parallel()
	overWires(t, func(t *testing.T, link func(a, b string) (chA, chB *bus.Channel)) {
		const n = 3
		var rs []*commands.Registry
		for i := range n {
			rs = append(rs, newRegistry(t, commands.Config{ID: fmt.Sprint("r", i), RouterChannel: fmt.Sprint("r", (i+1)%n)}))
		}
		handle(t, rs[0], "x", "1")
		for i := range n {
			a, b := link(rs[(i+1)%n].ID(), rs[i].ID())
			la, lb := attach(t, rs[i], a), attach(t, rs[(i+1)%n], b)
			await(t, la.Ready())
			await(t, lb.Ready())
		}
		settle(t, rs...)
		for _, r := range rs {
			_, err := r.ExecuteRaw(within(t), "nowhere", nil)
			require.ErrorIs(t, err, commands.ErrNotFound)
		}
		for _, r := range rs {
			assert.Equal(t, "1", executes(t, r, "x"))
			assert.Zero(t, r.Stats().Evicted)
		}
	})
}

// What a registry on the way has got anew meanwhile is not forgotten above it for a not_found of before.
func TestRule11NotFoundIsPassedOnAsRoutingsOnlyByWhoHasNotTheCommand(t *testing.T) {
	t.Parallel()
	overWires(t, func(t *testing.T, link func(a, b string) (chA, chB *bus.Channel)) {
		r := newRegistry(t, commands.Config{ID: "r"})
		owner := invade(t, r, "owner", everything, offering(`[{"id":"x"}]`), link)
		origin := invade(t, r, "origin", everything, offering(`[]`), link)
		origin.say(bus.Envelope{ID: "1", Type: bus.ExecuteRequest, Name: "x"})
		ask := owner.wants(bus.ExecuteRequest)
		owner.say(bus.Envelope{ID: "2", Type: bus.Withdraw, Name: "x"})
		eventually(t, "x is withdrawn", func() bool { return !knows(r, "x") })
		require.NoError(t, r.RegisterRaw(context.Background(), bus.Definition{ID: "x"}, nothing))
		owner.say(bus.Envelope{ID: "3", Type: bus.ExecuteResponse, Thread: ask.ID, Fault: &bus.Fault{Code: "not_found", Message: "gone", Unrouted: true}})
		got := origin.wants(bus.ExecuteResponse)
		require.NotNil(t, got.Fault)
		assert.False(t, got.Fault.Unrouted)
		assert.True(t, knows(r, "x"))
	})
}
