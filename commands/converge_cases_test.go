package commands_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

func TestRule10TheRouterGoesWhileTheCallersOfRegisterDo(t *testing.T) {
	t.Parallel()
	for range 150 {
		r := newRegistry(t, commands.Config{RouterChannel: "root"})
		root := meet(t, r, "root", everything)
		var wg sync.WaitGroup
		closing := make(chan struct{})
		for i := range 8 {
			wg.Go(func() {
				<-closing
				for k := 0; r.Link("root") != nil; k++ {
					ctx, cancel := context.WithCancel(context.Background())
					go cancel()
					err := r.RegisterRaw(ctx, bus.Definition{ID: fmt.Sprint(i, ".", k)}, func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil })
					if err != nil && commands.CodeOf(err) != commands.ChannelDisconnected {
						assert.Equal(t, context.Canceled, err)
					}
				}
			})
		}
		close(closing)
		require.NoError(t, root.Link.Close())
		wg.Wait()
		require.Zero(t, r.Stats().Reserved)
	}
}

func TestRule22ARegistrationOutlivesTheLinkThatItCameOver(t *testing.T) {
	t.Parallel()
	mid := newRegistry(t, commands.Config{RouterChannel: "root"})
	root := meet(t, mid, "root", everything)
	ask := func(id string) {
		leaf := meet(t, mid, "leaf", everything)
		leaf.say(bus.Envelope{ID: id, Type: bus.RegisterRequest, Body: json.RawMessage(`{"id":"x"}`)})
		root.wants(bus.RegisterRequest)
		require.NoError(t, leaf.Link.Close())
		assert.Equal(t, "x", root.wants(bus.Withdraw).Name)
	}
	ask("1")
	ask("2")
	leaf := meet(t, mid, "leaf", everything)
	leaf.say(bus.Envelope{ID: "3", Type: bus.RegisterRequest, Body: json.RawMessage(`{"id":"x"}`)})
	root.say(bus.Envelope{ID: "ack", Type: bus.RegisterResponse, Thread: root.wants(bus.RegisterRequest).ID})
	assert.Nil(t, leaf.wants(bus.RegisterResponse).Fault, "refused as a duplicate of itself")
	assert.Len(t, mid.Commands(), 1)
}

func TestRule22WhatARouterMissesIsRegisteredWithItOrTheNextOne(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]bool{"the same router": false, "a new one": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				mid := newRegistry(t, commands.Config{ID: "mid", RouterChannel: "root", RequestTTL: 200 * time.Millisecond})
				leaf := newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "mid", RequestTTL: 200 * time.Millisecond})
				root := meet(t, mid, "root", everything)
				handle(t, leaf, "x", "1")
				toLeaf, toMid := pairing.InMemory("leaf", "mid")
				attach(t, mid, toLeaf)
				attach(t, leaf, toMid)
				time.Sleep(time.Second) // the root does not answer
				if next {
					require.NoError(t, root.Link.Close())
					root = meet(t, mid, "root", everything)
				}
				answering := make(chan struct{})
				go func() {
					defer close(answering)
					for e := range root.sent {
						if e.Type == bus.RegisterRequest {
							root.say(bus.Envelope{ID: bus.NewID(), Type: bus.RegisterResponse, Thread: e.ID})
						}
					}
				}()
				time.Sleep(time.Second)
				synctest.Wait()
				assert.Zero(t, leaf.Stats().Unsynced)
				assert.Zero(t, mid.Stats().Unsynced)
				assert.Len(t, mid.Commands(), 1)
				require.NoError(t, root.Link.Close())
				synctest.Wait()
				close(root.sent)
				<-answering
			})
		})
	}
}

// An answer that takes longer than RequestTTL is an answer all the same: a registration without a waiting call has no deadline to miss.
func TestRule22LinksSlowerThanRequestTTLConvergeToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n, ttl = 20, 100 * time.Millisecond
		root := newRegistry(t, commands.Config{ID: "root"})
		mid := newRegistry(t, commands.Config{ID: "mid", RouterChannel: "root", RequestTTL: ttl})
		leaf := newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "mid", RequestTTL: ttl})
		for i := range n {
			handle(t, leaf, fmt.Sprint("leaf.", i), "1")
		}
		var delay atomic.Int64
		delay.Store(int64(ttl) * 3 / 2)
		for child, parent := range map[*commands.Registry]*commands.Registry{mid: root, leaf: mid} {
			toChild, toParent := pairing.InMemory(child.ID(), parent.ID())
			for _, ch := range []*bus.Channel{toChild, toParent} {
				ch.Publisher, ch.InProcess = slowPublisher{ch.Publisher, &delay}, false
			}
			attach(t, parent, toChild)
			attach(t, child, toParent)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Len(t, root.Commands(), n)
		assert.Zero(t, leaf.Stats().Unsynced, "the leaf has not heard its router's answers")
		assert.Zero(t, mid.Stats().Unsynced)
		assert.Zero(t, mid.Stats().Reserved)
		assert.Less(t, leaf.Link("mid").Stats().Sent, uint64(10*n), "and says the same again and again")
	})
}

// A registration that is lost among others that are answered is sent again, also for a child that is not of our kind.
func TestRule22WhatIsLostAmongOthersIsSentAgain(t *testing.T) {
	t.Parallel()
	for name, features := range map[string]bus.Features{"leat": everything, "foreign": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRegistry(t, commands.Config{RouterChannel: "root"})
				if features != 0 {
					handle(t, r, "lost", "1")
				}
				root := meet(t, r, "root", everything)
				if features == 0 {
					child := meet(t, r, "child", 0)
					child.say(bus.Envelope{ID: "1", Type: bus.RegisterRequest, Body: json.RawMessage(`{"id":"lost"}`)})
				}
				require.Contains(t, string(root.wants(bus.RegisterRequest).Body), "lost")
				found := make(chan time.Duration, 1)
				start, answering := time.Now(), make(chan struct{})
				go func() {
					defer close(answering)
					for e := range root.sent {
						if e.Type != bus.RegisterRequest {
							continue
						}
						if strings.Contains(string(e.Body), "lost") {
							select {
							case found <- time.Since(start):
							default:
							}
						}
						root.say(bus.Envelope{ID: bus.NewID(), Type: bus.RegisterResponse, Thread: e.ID})
					}
				}()
				for i := range 100 { // the router answers all the time
					handle(t, r, fmt.Sprint("x", i), "1")
					time.Sleep(100 * time.Millisecond)
				}
				synctest.Wait()
				assert.Less(t, await(t, found), 5*time.Second)
				assert.Zero(t, r.Stats().Unsynced)
				require.NoError(t, root.Link.Close())
				synctest.Wait()
				close(root.sent)
				<-answering
			})
		})
	}
}

// waitFor waits until a condition holds that nothing signals.
func waitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	pause := time.Millisecond
	for deadline := time.Now().Add(3 * patience); !holds(); time.Sleep(pause) {
		if pause = min(2*pause, 100*time.Millisecond); time.Now().After(deadline) {
			require.FailNow(t, "waited in vain", what)
		}
	}
}

func synced(rs ...*commands.Registry) func() bool {
	return func() bool {
		for _, r := range rs {
			if s := r.Stats(); s.Unsynced+s.Reserved > 0 {
				return false
			}
		}
		return true
	}
}

func TestRule22AListDuringTheEscalationLosesNothing(t *testing.T) {
	t.Parallel()
	root, mid := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "mid", RouterChannel: "root"})
	leaf := newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "mid"})
	for i := range 600 {
		handle(t, leaf, fmt.Sprint("leaf.", i), "1")
	}
	down, _ := join(t, mid, leaf)
	waitFor(t, "the leaf's commands at its parent", synced(leaf))
	toMid, toRoot := pairing.InMemory("mid", "root")
	attach(t, root, toMid)
	attach(t, mid, toRoot)
	for range 20 {
		require.NoError(t, down.Send(bus.Envelope{ID: bus.NewID(), Type: bus.ListRequest}))
	}
	waitFor(t, "the leaf's commands at the root", synced(leaf, mid))
	assert.Len(t, root.Commands(), 600)
}

func TestRule22ManyCommandsOverTwoLevelsWithSmallQueues(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]pairing.Options{
		"gochannel": {}, "memory": {PubSub: memory.New(memory.Options{HandOver: true})}, "json": {Codec: bus.JSON}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := newRegistry(t, commands.Config{ID: "root", QueueSize: 64})
			mid := newRegistry(t, commands.Config{ID: "mid", RouterChannel: "root", QueueSize: 64})
			leaf := newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "mid", QueueSize: 64})
			for i := range 2010 {
				handle(t, leaf, fmt.Sprint("leaf.", i), "1")
			}
			join(t, mid, leaf, o)
			join(t, root, mid)
			waitFor(t, "all at the root", synced(leaf, mid))
			assert.Len(t, root.Commands(), 2010)
			require.NoError(t, leaf.Close())
			waitFor(t, "all gone", func() bool { return len(root.Commands()) == 0 })
		})
	}
}

func TestRule22ACycleOfRoutersRegisters(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 3, 7} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			var rs []*commands.Registry
			for i := range n {
				rs = append(rs, newRegistry(t, commands.Config{ID: fmt.Sprint("c", i), RouterChannel: fmt.Sprint("up", i)}))
			}
			for i, r := range rs {
				above := rs[(i+1)%n]
				down, up := pairing.InMemory(fmt.Sprint("down", i), fmt.Sprint("up", i))
				attach(t, above, down)
				await(t, attach(t, r, up).Ready())
			}
			leaf := newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "c0"})
			join(t, rs[0], leaf)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			for i, r := range append(rs, leaf) {
				id := fmt.Sprint("x", i)
				require.NoError(t, r.RegisterRaw(ctx, bus.Definition{ID: id}, func(context.Context, json.RawMessage) (json.RawMessage, error) { return json.RawMessage("1"), nil }))
				for _, other := range rs {
					assert.Equal(t, "1", executes(t, other, id))
				}
			}
			before := rs[0].Link("up0").Stats().Sent
			settle(t, rs...)
			assert.Less(t, rs[0].Link("up0").Stats().Sent-before, uint64(50), "messages go round")
			require.True(t, leaf.Unregister(fmt.Sprint("x", n)))
			waitFor(t, "the leaf's command is gone everywhere", func() bool {
				for _, r := range rs {
					if len(r.Commands()) != n {
						return false
					}
				}
				return true
			})
			waitFor(t, "all is acknowledged", synced(rs...))
		})
	}
}

func TestRule24WhatAChannelMayRegisterAndListIsBounded(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{MaxCommands: 10, MaxCommandBytes: 1000})
	a := meet(t, r, "a", everything)
	for i := range 20 {
		a.say(bus.Envelope{ID: fmt.Sprint(i), Type: bus.RegisterRequest, Body: json.RawMessage(fmt.Sprintf(`{"id":"a%d"}`, i))})
		assert.Equal(t, i >= 10, a.wants(bus.RegisterResponse).Fault != nil, i)
	}
	a.say(bus.Envelope{ID: "again", Type: bus.RegisterRequest, Body: json.RawMessage(`{"id":"a3","description":"refreshed"}`)})
	assert.Nil(t, a.wants(bus.RegisterResponse).Fault, "a refresh needs no more room")
	a.say(bus.Envelope{ID: "list", Type: bus.ListResponse, Thread: "?", Body: json.RawMessage(`[{"id":"l1"},{"id":"l2"}]`)})
	a.silent()
	assert.Len(t, r.Commands(), 10)
	assert.EqualValues(t, 12, r.Stats().TooMany)
	a.say(bus.Envelope{ID: "gone", Type: bus.Withdraw, Name: "a0"})
	a.say(bus.Envelope{ID: "new", Type: bus.RegisterRequest, Body: json.RawMessage(`{"id":"new"}`)})
	assert.Nil(t, a.wants(bus.RegisterResponse).Fault, "there is room again")

	b := meet(t, r, "b", everything)
	large, _ := json.Marshal(bus.Definition{ID: "large", Schema: &bus.Schema{Request: json.RawMessage(`{"title":"` + strings.Repeat("x", 1000) + `"}`)}})
	b.say(bus.Envelope{ID: "large", Type: bus.RegisterRequest, Body: large})
	assert.NotNil(t, b.wants(bus.RegisterResponse).Fault)
	// All channels together may have four times as much.
	for c := range 4 {
		s := meet(t, r, fmt.Sprint("c", c), everything)
		for i := range 10 {
			s.say(bus.Envelope{ID: fmt.Sprint(i), Type: bus.RegisterRequest, Body: json.RawMessage(fmt.Sprintf(`{"id":"c%d.%d"}`, c, i))})
			s.wants(bus.RegisterResponse)
		}
	}
	assert.Len(t, r.Commands(), 40)
	require.NoError(t, a.Link.Close())
	b.say(bus.Envelope{ID: "b", Type: bus.RegisterRequest, Body: json.RawMessage(`{"id":"b"}`)})
	assert.Nil(t, b.wants(bus.RegisterResponse).Fault)
}

func TestRule24WhatWaitsForTheRouterIsBoundedToo(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{RouterChannel: "root", MaxCommands: 10})
	root, a := meet(t, r, "root", everything), meet(t, r, "a", everything)
	for i := range 20 {
		a.say(bus.Envelope{ID: fmt.Sprint(i), Type: bus.RegisterRequest, Body: json.RawMessage(fmt.Sprintf(`{"id":"a%d"}`, i))})
	}
	for range 10 {
		assert.NotNil(t, a.wants(bus.RegisterResponse).Fault)
	}
	assert.Equal(t, 10, r.Stats().Reserved)
	for range 10 {
		root.say(bus.Envelope{ID: bus.NewID(), Type: bus.RegisterResponse, Thread: root.wants(bus.RegisterRequest).ID})
		assert.Nil(t, a.wants(bus.RegisterResponse).Fault)
	}
}

func TestRule26APlainPeerIsNotTakenForAFleet(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{})
	handle(t, r, "mine", `"mine"`)
	peer := meet(t, r, "peer", everything|bus.Shared)
	peer.say(bus.Envelope{ID: "1", Type: bus.ListResponse, Thread: "?", Features: everything | bus.Shared, Body: json.RawMessage(`[{"id":"mine"},{"id":"theirs"}]`)})
	peer.silent()
	assert.False(t, peer.Link.Understands(bus.Shared))
	require.True(t, r.Unregister("mine"))
	for _, c := range r.Commands() {
		assert.NotEqual(t, "mine", c.ID, "taken over when its owner left")
	}
	assert.ErrorIs(t, registerRaw(r, "theirs"), commands.ErrDuplicateCommand)
}

func TestRule23ManyChildrenThatComeUpAtOnceEndNoLink(t *testing.T) {
	t.Parallel()
	const children, each = 40, 40 // 20 times what the queues hold
	for name, o := range map[string]func() pairing.Options{
		"gochannel": func() pairing.Options { return pairing.Options{} },
		"memory":    func() pairing.Options { return pairing.Options{PubSub: memory.New(memory.Options{HandOver: true})} },
		"json":      func() pairing.Options { return pairing.Options{Codec: bus.JSON} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := newRegistry(t, commands.Config{ID: "root", QueueSize: 64})
			mid := newRegistry(t, commands.Config{ID: "mid", RouterChannel: "root", QueueSize: 64})
			rs := []*commands.Registry{mid}
			for i := range children {
				leaf := newRegistry(t, commands.Config{ID: fmt.Sprint("leaf", i), RouterChannel: "mid", QueueSize: 64})
				for k := range each {
					handle(t, leaf, fmt.Sprint("c", i, ".", k), "1")
				}
				rs = append(rs, leaf)
			}
			toMid, toRoot := pairing.InMemory("mid", "root", o())
			attach(t, root, toMid)
			attach(t, mid, toRoot)
			for _, leaf := range rs[1:] {
				down, up := pairing.InMemory(leaf.ID(), "mid", o())
				attach(t, mid, down)
				attach(t, leaf, up)
			}
			waitFor(t, "all at the root", synced(rs...))
			assert.Len(t, root.Commands(), children*each)
			assert.Len(t, mid.Channels(), children+1)
		})
	}
}
