package commands_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

func registerRaw(r *commands.Registry, id string) error {
	return r.RegisterRaw(context.Background(), bus.Definition{ID: id}, func(context.Context, json.RawMessage) (json.RawMessage, error) {
		return json.RawMessage(`"` + r.ID() + `"`), nil
	})
}

func TestRule09TenGoroutinesRegisterOneIDAndOneWins(t *testing.T) {
	t.Parallel()
	root, worker := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "worker", RouterChannel: "root"})
	join(t, root, worker)
	for _, r := range []*commands.Registry{root, worker} {
		id := "one." + r.ID()
		var won atomic.Int64
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if err := registerRaw(r, id); err == nil {
					won.Add(1)
				} else {
					assert.ErrorIs(t, err, commands.ErrDuplicateCommand)
				}
			})
		}
		wg.Wait()
		assert.EqualValues(t, 1, won.Load())
		settle(t, root, worker)
		assert.Equal(t, `"`+r.ID()+`"`, executes(t, root, id))
		assert.Zero(t, r.Stats().Reserved)
	}
}

func TestRule09TwoBranchesRegisterOneIDAtOnceAndOneWins(t *testing.T) {
	t.Parallel()
	root := newRegistry(t, commands.Config{ID: "root"})
	var leaves []*commands.Registry
	for _, b := range []string{"a", "b"} {
		mid := newRegistry(t, commands.Config{ID: "mid-" + b, RouterChannel: "root"})
		join(t, root, mid)
		leaf := newRegistry(t, commands.Config{ID: "leaf-" + b, RouterChannel: "mid-" + b})
		join(t, mid, leaf)
		leaves = append(leaves, leaf)
	}
	for i := range 50 {
		id := fmt.Sprint("cmd.", i)
		errs := make([]error, 2)
		var wg sync.WaitGroup
		for j, leaf := range leaves {
			wg.Go(func() { errs[j] = registerRaw(leaf, id) })
		}
		wg.Wait()
		winner := 0
		if errs[0] != nil {
			winner = 1
		}
		require.NoError(t, errs[winner])
		require.ErrorIs(t, errs[1-winner], commands.ErrDuplicateCommand)
		require.Equal(t, `"`+leaves[winner].ID()+`"`, executes(t, root, id))
		require.Equal(t, `"`+leaves[winner].ID()+`"`, executes(t, leaves[1-winner], id), "the loser calls the winner's")
	}
}

func TestRule09RegisteringAgainFromTheSameChannelRefreshesAllTheWayUp(t *testing.T) {
	t.Parallel()
	root, mid := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "mid", RouterChannel: "root"})
	join(t, root, mid)
	leaf, other := meet(t, mid, "leaf", everything), meet(t, mid, "other", everything)
	for i, description := range []string{"old", "new"} {
		leaf.say(bus.Envelope{ID: fmt.Sprint(i), Type: bus.RegisterRequest, Body: json.RawMessage(`{"id":"x","description":"` + description + `"}`)})
		assert.Nil(t, leaf.wants(bus.RegisterResponse).Fault)
		for _, r := range []*commands.Registry{mid, root} {
			require.Len(t, r.Commands(), 1)
			assert.Equal(t, description, r.Commands()[0].Description, r.ID())
		}
	}
	other.say(bus.Envelope{ID: "2", Type: bus.RegisterRequest, Body: json.RawMessage(`{"id":"x"}`)})
	refused := other.wants(bus.RegisterResponse)
	require.NotNil(t, refused.Fault)
	assert.Equal(t, "duplicate_command", refused.Fault.Code)
}

func TestRule10VisibleOnlyAfterTheAckAndCallableFromItOn(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{RouterChannel: "root"})
	root, peer := meet(t, r, "root", everything), meet(t, r, "peer", everything)
	done := make(chan error, 1)
	go func() { done <- registerRaw(r, "x") }()
	ask := root.wants(bus.RegisterRequest)
	assert.JSONEq(t, `{"id":"x"}`, string(ask.Body))
	assert.Empty(t, r.Commands())
	assert.ErrorIs(t, registerRaw(r, "x"), commands.ErrDuplicateCommand, "the ID is taken meanwhile")
	select {
	case err := <-done:
		require.Fail(t, "registered before the ack", "%v", err)
	default:
	}
	// The ack, and a call right behind it.
	root.say(bus.Envelope{ID: "ack", Type: bus.RegisterResponse, Thread: ask.ID})
	root.say(bus.Envelope{ID: "call", Type: bus.ExecuteRequest, Name: "x"})
	assert.Nil(t, root.wants(bus.ExecuteResponse).Fault)
	require.NoError(t, await(t, done))
	assert.Len(t, r.Commands(), 1)
	peer.wants(bus.ListResponse) // those who understand are told
}

func TestRule10ARequestFromTheRouterCountsAsTheAck(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{RouterChannel: "root"})
	root := meet(t, r, "root", everything)
	done := make(chan error, 1)
	go func() { done <- registerRaw(r, "x") }()
	ask := root.wants(bus.RegisterRequest)
	root.say(bus.Envelope{ID: "call", Type: bus.ExecuteRequest, Name: "x"})
	assert.Nil(t, root.wants(bus.ExecuteResponse).Fault)
	require.NoError(t, await(t, done))
	root.say(bus.Envelope{ID: "ack", Type: bus.RegisterResponse, Thread: ask.ID})
	root.silent()
}

func TestRule10RefusalTimeoutAndDisconnectAreToldApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, commands.Config{RouterChannel: "root", RequestTTL: time.Second})
		root := meet(t, r, "root", everything)
		done := make(chan error, 1)
		try := func(ctx context.Context) bus.Envelope {
			go func() {
				done <- r.RegisterRaw(ctx, bus.Definition{ID: "x"}, func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil })
			}()
			return root.wants(bus.RegisterRequest)
		}
		for _, tc := range []struct {
			code string
			want error
		}{
			{"duplicate_command", commands.ErrDuplicateCommand},
			{"timeout", commands.ErrTimeout},
			{"channel_disconnected", commands.ErrChannelDisconnected},
			{"unheard_of", commands.ErrInternal},
		} {
			ask := try(context.Background())
			root.say(bus.Envelope{ID: bus.NewID(), Type: bus.RegisterResponse, Thread: ask.ID, Fault: &bus.Fault{Code: tc.code}})
			require.ErrorIs(t, <-done, tc.want)
		}
		try(context.Background())
		require.ErrorIs(t, <-done, commands.ErrTimeout)
		root.wants(bus.Cancel)
		root.wants(bus.Withdraw)

		ctx, cancel := context.WithCancel(context.Background())
		try(ctx)
		cancel()
		require.Equal(t, context.Canceled, <-done)
		assert.Equal(t, "x", root.wants(bus.Withdraw).Name, "what the router may have installed is taken back")

		try(context.Background())
		require.NoError(t, root.Link.Close())
		require.ErrorIs(t, <-done, commands.ErrChannelDisconnected)
		assert.Empty(t, r.Commands(), "nothing is left of any")
		assert.Zero(t, r.Stats().Reserved)
	})
}

func TestRule10WithTheRouterDownItIsLocalAndEscalatedLater(t *testing.T) {
	t.Parallel()
	root, mid := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "mid", RouterChannel: "root"})
	leaf := newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "mid"})
	for i := range 1000 {
		handle(t, mid, fmt.Sprint("mid.", i), "1")
	}
	handle(t, leaf, "leaf.before", "2")
	join(t, mid, leaf)
	handle(t, leaf, "leaf.after", "3")
	handle(t, mid, "_mid.private", "4")
	handle(t, root, "mid.7", `"root's"`)
	join(t, root, mid)
	settle(t, root, mid)
	assert.Len(t, root.Commands(), 1002)
	assert.Equal(t, "1", executes(t, root, "mid.999"))
	assert.Equal(t, "2", executes(t, root, "leaf.before"))
	assert.Equal(t, "3", executes(t, root, "leaf.after"))
	assert.Equal(t, `"root's"`, executes(t, root, "mid.7"))
	assert.Equal(t, "1", executes(t, mid, "mid.7"), "refused, it stays local")
}

func TestRule11ALinkThatClosesWithdrawsUpTheTreeAndAnotherBranchMayTakeOver(t *testing.T) {
	t.Parallel()
	root := newRegistry(t, commands.Config{ID: "root"})
	m1, m2 := newRegistry(t, commands.Config{ID: "m1", RouterChannel: "root"}), newRegistry(t, commands.Config{ID: "m2", RouterChannel: "root"})
	join(t, root, m1)
	join(t, root, m2)
	for i := range 10 {
		mid := []*commands.Registry{m1, m2}[i%2]
		leaf := newRegistry(t, commands.Config{ID: "leaf", RouterChannel: mid.ID()})
		handle(t, leaf, "leaf.work", fmt.Sprint(i))
		down, up := join(t, mid, leaf)
		settle(t, root, mid, leaf)
		require.Equal(t, fmt.Sprint(i), executes(t, root, "leaf.work"))
		require.NoError(t, []*bus.Link{down, up}[i/2%2].Close())
		await(t, down.Done())
		settle(t, root, m1, m2)
		require.Empty(t, root.Commands())
		_, err := root.ExecuteRaw(within(t), "leaf.work", nil)
		require.ErrorIs(t, err, commands.ErrNotFound)
	}
}

func TestRule11AStaleEntryEndsInNotFoundAndIsEvicted(t *testing.T) {
	t.Parallel()
	for _, features := range []bus.Features{0, everything} {
		r := newRegistry(t, commands.Config{RouterChannel: "root"})
		root, peer := meet(t, r, "root", everything), meet(t, r, "peer", features)
		peer.say(bus.Envelope{ID: "1", Type: bus.RegisterRequest, Body: json.RawMessage(`{"id":"x"}`)})
		root.say(bus.Envelope{ID: "2", Type: bus.RegisterResponse, Thread: root.wants(bus.RegisterRequest).ID})
		peer.wants(bus.RegisterResponse)
		done := make(chan error, 1)
		go func() { _, err := r.ExecuteRaw(within(t), "x", nil); done <- err }()
		ask := peer.wants(bus.ExecuteRequest)
		peer.say(bus.Envelope{ID: "3", Type: bus.ExecuteResponse, Thread: ask.ID,
			Fault: &bus.Fault{Code: "not_found", Message: "gone", Unrouted: features != 0}})
		require.ErrorIs(t, await(t, done), commands.ErrNotFound)
		if features == 0 { // a handler may have said so: the list tells
			peer.say(bus.Envelope{ID: "4", Type: bus.ListResponse, Thread: peer.wants(bus.ListRequest).ID, Body: json.RawMessage(`[]`)})
		}
		assert.Equal(t, "x", root.wants(bus.Withdraw).Name)
		assert.Empty(t, r.Commands())
		assert.EqualValues(t, 1, r.Stats().Evicted)
	}
}

func TestRule11UnregisterWithdrawsFromAllWhoKnow(t *testing.T) {
	t.Parallel()
	leaf, rs := chainOf(t, 3)
	peer := newRegistry(t, commands.Config{ID: "peer"})
	join(t, leaf, peer)
	handle(t, leaf, "x", "1")
	settle(t, append(rs, peer)...)
	for _, r := range append(rs, peer) {
		assert.Equal(t, "1", executes(t, r, "x"))
	}
	assert.True(t, leaf.Unregister("x"))
	assert.False(t, leaf.Unregister("x"))
	assert.False(t, rs[0].Unregister("x"), "only its own")
	settle(t, append(rs, peer)...)
	for _, r := range append(rs, peer) {
		assert.Empty(t, r.Commands(), r.ID())
	}
	handle(t, rs[0], "x", "2")
	assert.Equal(t, "2", executes(t, leaf, "x"))
}

func TestRule12APeersListNeverReplacesWhatAnotherOwns(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{})
	handle(t, r, "mine", `"mine"`)
	a, b := meet(t, r, "a", everything), meet(t, r, "b", everything)
	a.say(bus.Envelope{ID: "1", Type: bus.ListResponse, Thread: "?", Body: json.RawMessage(`[{"id":"as"},{"id":"mine"}]`)})
	a.silent()
	b.say(bus.Envelope{ID: "2", Type: bus.ListResponse, Thread: "?", Body: json.RawMessage(`[{"id":"as"},{"id":"mine"},{"id":"bs"},{"id":"_secret"}]`)})
	b.silent()
	where := map[string]string{}
	for _, c := range r.Commands() {
		where[c.ID] = c.Channel
	}
	assert.Equal(t, map[string]string{"mine": "", "as": "a", "bs": "b"}, where)
	assert.Equal(t, `"mine"`, executes(t, r, "mine"))
	assert.EqualValues(t, 4, r.Stats().Conflicts)
}

func TestRule13PrivateCommandsStayHereUnlessTheChannelIsLocal(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{RouterChannel: "root"})
	root := meet(t, r, "root", everything)
	handle(t, r, "_secret", "1") // returns without the router's ack
	root.say(bus.Envelope{ID: "1", Type: bus.ListRequest})
	assert.JSONEq(t, `[]`, string(root.wants(bus.ListResponse).Body))
	root.say(bus.Envelope{ID: "2", Type: bus.ExecuteRequest, Name: "_secret"})
	assert.Equal(t, "not_found", root.wants(bus.ExecuteResponse).Fault.Code)
	_, err := r.ExecuteRaw(within(t), "_other", nil)
	require.ErrorIs(t, err, commands.ErrNotFound)
	root.say(bus.Envelope{ID: "3", Type: bus.RegisterRequest, Body: json.RawMessage(`{"id":"_theirs"}`)})
	assert.NotNil(t, root.wants(bus.RegisterResponse).Fault)
	root.silent()
	assert.Equal(t, "1", executes(t, r, "_secret"))

	local := newRegistry(t, commands.Config{})
	handle(t, local, "_secret", "1")
	toUs, us := pairing.InMemory("us", "them")
	l := attach(t, local, us)
	require.True(t, l.Local())
	other := bus.New(bus.Options{Logger: quiet})
	t.Cleanup(func() { other.Close() })
	replies := make(chan bus.Envelope, 1)
	other.Use(func(*bus.Link) bus.Receiver { return replyCollector(replies) })
	ol, err := other.Attach(within(t), toUs)
	require.NoError(t, err)
	require.NoError(t, ol.Send(bus.Envelope{ID: "4", Type: bus.ExecuteRequest, Name: "_secret"}))
	assert.Equal(t, "1", string(await(t, replies).Body))
}

type replyCollector chan bus.Envelope

func (replyCollector) Opened()                        {}
func (replyCollector) Unsent(bus.Type, string, error) {}
func (replyCollector) Closed(error)                   {}
func (c replyCollector) Receive(d *bus.Delivery) bool {
	if d.Envelope.Type == bus.ExecuteResponse {
		c <- d.Envelope
	}
	return d.Envelope.Type == bus.ExecuteResponse
}
