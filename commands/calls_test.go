package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

type sum struct {
	A int `json:"a"`
	B int `json:"b"`
}

func TestRule01ResolutionIsLocalThenRemoteThenRouterThenNotFound(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{ID: "mid", RouterChannel: "root"})
	_, err := r.ExecuteRaw(within(t), "x", nil)
	require.ErrorIs(t, err, commands.ErrChannelDisconnected, "the router is configured and not there")
	assert.NotErrorIs(t, err, commands.ErrClosed)

	root := meet(t, r, "root", everything)
	worker := meet(t, r, "worker", everything)
	go func() {
		e := root.wants(bus.ExecuteRequest)
		root.say(bus.Envelope{ID: "1", Type: bus.ExecuteResponse, Thread: e.ID, Body: []byte(`"router"`)})
	}()
	assert.Equal(t, `"router"`, executes(t, r, "x"))

	worker.say(bus.Envelope{ID: "2", Type: bus.RegisterRequest, Body: []byte(`{"id":"x"}`)})
	ask := root.wants(bus.RegisterRequest)
	root.say(bus.Envelope{ID: "3", Type: bus.RegisterResponse, Thread: ask.ID})
	worker.wants(bus.RegisterResponse)
	go func() {
		e := worker.wants(bus.ExecuteRequest)
		worker.say(bus.Envelope{ID: "4", Type: bus.ExecuteResponse, Thread: e.ID, Body: []byte(`"remote"`)})
	}()
	assert.Equal(t, `"remote"`, executes(t, r, "x"))

	alone := newRegistry(t, commands.Config{})
	_, err = alone.ExecuteRaw(within(t), "x", nil)
	require.ErrorIs(t, err, commands.ErrNotFound)
	handle(t, alone, "x", `"local"`)
	assert.Equal(t, `"local"`, executes(t, alone, "x"))
}

func TestRule02MutePeerTimesOutOnAnIdleRegistry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, commands.Config{RequestTTL: 7 * time.Second, RouterChannel: "mute"})
		mute := meet(t, r, "mute", 0)
		began := time.Now()
		_, err := r.ExecuteRaw(context.Background(), "x", nil)
		assert.Equal(t, 7*time.Second, time.Since(began))
		require.ErrorIs(t, err, commands.ErrTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Zero(t, r.Stats().Pending)
		mute.Link.Close()
	})
}

func TestRule02TTLOfTheCommandAndDeadlineOfTheCallerWhicheverIsFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, commands.Config{RouterChannel: "mute"})
		mute := meet(t, r, "mute", everything)
		c := commands.Define[commands.Void, commands.Void]("x", "", commands.Options{TTL: 3 * time.Second})
		for _, tc := range []struct{ deadline, want time.Duration }{{time.Second, time.Second}, {time.Minute, 3 * time.Second}} {
			ctx, cancel := context.WithTimeout(context.Background(), tc.deadline)
			began := time.Now()
			_, err := commands.Execute(ctx, r, c, commands.Void{})
			assert.Equal(t, tc.want, time.Since(began))
			require.ErrorIs(t, err, commands.ErrTimeout)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			cancel()
			ask := mute.wants(bus.ExecuteRequest)
			assert.Equal(t, tc.want, ask.Deadline, "the peer is told what remains")
			assert.Equal(t, ask.ID, mute.wants(bus.Cancel).Thread, "and that nobody waits any more")
			mute.say(bus.Envelope{ID: bus.NewID(), Type: bus.ExecuteResponse, Thread: ask.ID})
			mute.silent()
		}
		assert.Zero(t, r.Stats().Pending)
		assert.EqualValues(t, 2, r.Stats().Late)
		mute.Link.Close()
	})
}

func TestRule02LocalCallHasNoTTLAndRunsOnTheCallersGoroutine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, commands.Config{RequestTTL: time.Second})
		type key struct{}
		ctx := context.WithValue(context.Background(), key{}, "caller's")
		slow := commands.Define[*sum, string]("slow", "")
		var frames [16]uintptr
		require.NoError(t, commands.Register(ctx, r, slow, func(ctx context.Context, s *sum) (string, error) {
			time.Sleep(time.Hour) // of the bubble's clock
			s.A = runtime.Callers(0, frames[:])
			return ctx.Value(key{}).(string), nil
		}))
		arg := &sum{}
		res, err := commands.Execute(ctx, r, slow, arg)
		require.NoError(t, err)
		assert.Equal(t, "caller's", res)
		assert.NotZero(t, arg.A, "the argument is passed as it is")
		trace := runtime.CallersFrames(frames[:arg.A])
		for found := false; !found; {
			f, more := trace.Next()
			found = strings.Contains(f.Function, "TestRule02LocalCallHasNoTTL")
			require.True(t, found || more, "the handler runs on the caller's stack")
		}
	})
}

func TestRule02FailedSendEndsTheCallAtOnce(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{RouterChannel: "broken"})
	broken := &failingPublisher{err: errors.New("wire cut")}
	attach(t, r, &bus.Channel{ID: "broken", Publisher: broken, Out: "out"})
	_, err := r.ExecuteRaw(within(t), "x", nil)
	require.ErrorIs(t, err, commands.ErrChannelDisconnected)
	require.ErrorIs(t, err, broken.err)
	assert.Zero(t, r.Stats().Pending)
}

func TestRule02ReplyAndTimeoutRace(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{RouterChannel: "peer"})
	peer := meet(t, r, "peer", everything)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case e := <-peer.sent:
				if e.Type == bus.ExecuteRequest {
					peer.say(bus.Envelope{ID: bus.NewID(), Type: bus.ExecuteResponse, Thread: e.ID, Body: []byte("1")})
				}
			case <-peer.end:
				return
			}
		}
	})
	var ok, late atomic.Int64
	var calls sync.WaitGroup
	for range 200 {
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(500))*time.Microsecond)
			defer cancel()
			res, err := r.ExecuteRaw(ctx, "x", nil)
			switch {
			case err == nil && string(res) == "1":
				ok.Add(1)
			case errors.Is(err, commands.ErrTimeout) && errors.Is(err, context.DeadlineExceeded):
				late.Add(1)
			default:
				assert.Fail(t, "neither a reply nor a timeout", "%q %v", res, err)
			}
		})
	}
	calls.Wait()
	assert.EqualValues(t, 200, ok.Load()+late.Load())
	assert.Zero(t, r.Stats().Pending)
	peer.Link.Close()
	wg.Wait()
}

func TestRule03CancellationAndDeadlineReachTheHandlerOverThreeHops(t *testing.T) {
	t.Parallel()
	leaf, rs := chainOf(t, 4)
	began, ended := make(chan context.Context, 1), make(chan error, 1)
	handleFunc(t, leaf, "wait", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		began <- ctx
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	})
	settle(t, rs...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { _, err := rs[0].ExecuteRaw(ctx, "wait", nil); done <- err }()
	at, ok := await(t, began).Deadline()
	assert.True(t, ok, "the RequestTTL is the deadline where the caller has none")
	assert.WithinDuration(t, time.Now().Add(30*time.Second), at, 10*time.Second)
	cancel()
	assert.Same(t, context.Canceled, await(t, done), "the caller's own cancellation comes back as it is")
	assert.ErrorIs(t, await(t, ended), context.Canceled)

	ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	go func() { _, err := rs[0].ExecuteRaw(ctx, "wait", nil); done <- err }()
	await(t, began)
	require.ErrorIs(t, await(t, done), commands.ErrTimeout)
	assert.Error(t, await(t, ended))
	settle(t, rs...)
	for _, r := range rs {
		assert.Zero(t, r.Stats().Pending, r.ID())
		assert.Zero(t, r.Stats().Waiting, r.ID())
	}
}

// chainOf returns n registries in a line, each the router of the next.
func chainOf(t testing.TB, n int) (leaf *commands.Registry, all []*commands.Registry) {
	t.Helper()
	for i := range n {
		cfg := commands.Config{ID: fmt.Sprintf("r%d", i)}
		if i > 0 {
			cfg.RouterChannel = fmt.Sprintf("r%d", i-1)
		}
		leaf = newRegistry(t, cfg)
		if i > 0 {
			join(t, all[i-1], leaf)
		}
		all = append(all, leaf)
	}
	return leaf, all
}

func TestRule03ClosingALinkInTheMiddleFailsRoutedCallsAtTheirOrigin(t *testing.T) {
	t.Parallel()
	leaf, rs := chainOf(t, 4)
	began, ended := make(chan struct{}), make(chan error, 1)
	handleFunc(t, leaf, "wait", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		close(began)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return nil, ctx.Err()
	})
	settle(t, rs...)
	done := make(chan error, 1)
	go func() { _, err := rs[0].ExecuteRaw(within(t), "wait", nil); done <- err }()
	await(t, began)
	require.NoError(t, rs[1].Link("r2").Close())
	require.ErrorIs(t, await(t, done), commands.ErrChannelDisconnected)
	require.Error(t, await(t, ended), "the handler is cancelled")
	for _, r := range rs {
		assert.Zero(t, r.Stats().Pending, r.ID())
	}
}

func TestRule04ASlowHandlerDelaysNobody(t *testing.T) {
	t.Parallel()
	root, worker := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "worker", RouterChannel: "root", MaxInFlight: 2})
	release, began := make(chan struct{}), make(chan struct{})
	handleFunc(t, worker, "slow", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		close(began)
		<-release
		return nil, nil
	})
	handle(t, worker, "fast", `1`)
	join(t, root, worker)
	done := make(chan error, 1)
	go func() { _, err := root.ExecuteRaw(within(t), "slow", nil); done <- err }()
	await(t, began)
	for range 100 {
		assert.Equal(t, "1", executes(t, root, "fast"))
	}
	close(release)
	require.NoError(t, await(t, done))
}

func TestRule04NestedCallsFinishAtCapOneUpToDepth16(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		depth int
		want  error
	}{{15, nil}, {16, nil}, {17, commands.ErrInternal}} {
		t.Run(fmt.Sprint(tc.depth), func(t *testing.T) {
			t.Parallel()
			// Every call goes to the other side through a relay, and back.
			a := newRegistry(t, commands.Config{ID: "a", RouterChannel: "relay", MaxInFlight: 1})
			relay := newRegistry(t, commands.Config{ID: "relay", MaxInFlight: 1})
			b := newRegistry(t, commands.Config{ID: "b", RouterChannel: "relay", MaxInFlight: 1})
			join(t, relay, a)
			join(t, relay, b)
			for _, side := range []struct {
				r           *commands.Registry
				own, others string
			}{{a, "a.down", "b.down"}, {b, "b.down", "a.down"}} {
				handleFunc(t, side.r, side.own, func(ctx context.Context, n json.RawMessage) (json.RawMessage, error) {
					var left int
					if err := json.Unmarshal(n, &left); err != nil || left == 0 {
						return json.RawMessage(`"bottom"`), err
					}
					return side.r.ExecuteRaw(ctx, side.others, json.RawMessage(fmt.Sprint(left-1)))
				})
			}
			settle(t, a, relay, b)
			res, err := a.ExecuteRaw(within(t), "b.down", json.RawMessage(fmt.Sprint(tc.depth)))
			if tc.want != nil {
				require.ErrorIs(t, err, tc.want)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, `"bottom"`, string(res))
		})
	}
}

func TestRule04NeverMoreRunningThanTheCapAllows(t *testing.T) {
	t.Parallel()
	const limit = 4
	a := newRegistry(t, commands.Config{ID: "a", RouterChannel: "relay"})
	relay := newRegistry(t, commands.Config{ID: "relay"})
	b := newRegistry(t, commands.Config{ID: "b", RouterChannel: "relay", MaxInFlight: limit})
	join(t, relay, a)
	join(t, relay, b)
	var running, most atomic.Int64
	handleFunc(t, b, "leaf", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		n := running.Add(1)
		defer running.Add(-1)
		for {
			m := most.Load()
			if n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		runtime.Gosched()
		return json.RawMessage(`1`), nil
	})
	handleFunc(t, a, "fan", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		var wg sync.WaitGroup
		var failed atomic.Value
		for range 1000 {
			wg.Go(func() {
				if _, err := a.ExecuteRaw(ctx, "leaf", nil); err != nil {
					failed.Store(err)
				}
			})
		}
		wg.Wait()
		err, _ := failed.Load().(error)
		return nil, err
	})
	settle(t, a, relay, b)
	_, err := relay.ExecuteRaw(within(t), "fan", nil)
	require.NoError(t, err)
	assert.LessOrEqual(t, most.Load(), int64(limit))
	assert.Positive(t, most.Load())
}

func TestRule04BeyondTheBacklogIsRefusedAtOnceAndCounted(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{MaxInFlight: 1, MaxBacklog: 2})
	release := make(chan struct{})
	handleFunc(t, r, "slow", func(context.Context, json.RawMessage) (json.RawMessage, error) { <-release; return nil, nil })
	peer := meet(t, r, "peer", everything)
	for i := range 4 {
		peer.say(bus.Envelope{ID: fmt.Sprint(i), Type: bus.ExecuteRequest, Name: "slow"})
	}
	refused := peer.wants(bus.ExecuteResponse)
	assert.Equal(t, "3", refused.Thread)
	require.NotNil(t, refused.Fault)
	assert.Equal(t, "internal_error", refused.Fault.Code)
	assert.Contains(t, refused.Fault.Message, "overloaded")
	assert.EqualValues(t, 1, r.Stats().Refused)
	assert.Equal(t, 2, r.Stats().Waiting)
	close(release)
	for i := range 3 {
		assert.Equal(t, fmt.Sprint(i), peer.wants(bus.ExecuteResponse).Thread, "first come, first served")
	}
}

func TestRule04ACancelledRequestLeavesTheBacklog(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{MaxInFlight: 1, MaxBacklog: 2})
	release, runs := make(chan struct{}), atomic.Int64{}
	handleFunc(t, r, "slow", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		runs.Add(1)
		<-release
		return nil, nil
	})
	peer := meet(t, r, "peer", everything)
	peer.say(bus.Envelope{ID: "running", Type: bus.ExecuteRequest, Name: "slow"})
	for i := range 1000 {
		id := fmt.Sprint(i)
		peer.say(bus.Envelope{ID: id, Type: bus.ExecuteRequest, Name: "slow"})
		peer.say(bus.Envelope{ID: bus.NewID(), Type: bus.Cancel, Thread: id})
	}
	peer.say(bus.Envelope{ID: "last", Type: bus.ExecuteRequest, Name: "slow"})
	peer.silent()
	assert.Equal(t, 1, r.Stats().Waiting)
	close(release)
	assert.Equal(t, "running", peer.wants(bus.ExecuteResponse).Thread)
	assert.Equal(t, "last", peer.wants(bus.ExecuteResponse).Thread)
	peer.silent()
	assert.EqualValues(t, 2, runs.Load())
	assert.Zero(t, r.Stats().Serving)
}

func TestRule05ErrorsCrossTheWireAsCodes(t *testing.T) {
	t.Parallel()
	leaf, rs := chainOf(t, 4)
	secret := errors.New("connection string with a password")
	for id, err := range map[string]error{
		"plain":   errors.New("boom"),
		"missing": commands.Errorf(commands.NotFound, "no user %d", 7),
		"wrapped": fmt.Errorf("loading: %w", commands.Errorf(commands.InvalidRequest, "bad id")),
		"late":    context.DeadlineExceeded,
		"caused":  &commands.Error{Code: commands.Internal, Message: "database is down", Err: secret},
		"nested":  commands.Errorf(commands.Internal, "outer: %w", errors.New("inner")),
	} {
		handleFunc(t, leaf, id, func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, err })
	}
	handleFunc(t, leaf, "panic", func(context.Context, json.RawMessage) (json.RawMessage, error) { panic(secret) })
	handleFunc(t, leaf, "exit", func(context.Context, json.RawMessage) (json.RawMessage, error) { runtime.Goexit(); return nil, nil })
	handleFunc(t, leaf, "relayed", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		return leaf.ExecuteRaw(ctx, "missing", nil)
	})
	settle(t, rs...)
	for _, tc := range []struct {
		id   string
		want error
		text string
	}{
		{"plain", commands.ErrInternal, "boom"},
		{"missing", commands.ErrNotFound, "no user 7"},
		{"wrapped", commands.ErrInvalidRequest, "loading: bad id"},
		{"late", commands.ErrTimeout, "context deadline exceeded"},
		{"caused", commands.ErrInternal, "database is down"},
		{"nested", commands.ErrInternal, "outer: inner"},
		{"panic", commands.ErrInternal, "handler panicked"},
		{"exit", commands.ErrInternal, "handler ended its goroutine"},
		{"relayed", commands.ErrInternal, "no user 7"},
		{"nowhere", commands.ErrNotFound, "command not found: nowhere"},
	} {
		_, err := rs[0].ExecuteRaw(within(t), tc.id, nil)
		require.ErrorIs(t, err, tc.want, tc.id)
		assert.Equal(t, tc.text, err.Error(), tc.id)
		var e *commands.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, tc.id, e.Command)
		if tc.id == "exit" || tc.id == "nowhere" {
			continue
		}
		_, local := leaf.ExecuteRaw(within(t), tc.id, nil)
		require.ErrorIs(t, local, tc.want, "local %s", tc.id)
		assert.Equal(t, tc.text, local.Error(), "local %s", tc.id)
	}
	assert.Equal(t, 10-1, len(rs[0].Commands())+0, "an application's not_found evicts nothing")
}

func TestRule05PanicCostsOneCallOnly(t *testing.T) {
	t.Parallel()
	root, worker := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "worker", RouterChannel: "root", MaxInFlight: 1})
	handleFunc(t, worker, "panic", func(context.Context, json.RawMessage) (json.RawMessage, error) { panic("oh") })
	handleFunc(t, worker, "exit", func(context.Context, json.RawMessage) (json.RawMessage, error) { runtime.Goexit(); return nil, nil })
	handle(t, worker, "fine", `1`)
	join(t, root, worker)
	for range 5 {
		for _, id := range []string{"panic", "exit"} {
			_, err := root.ExecuteRaw(within(t), id, nil)
			require.ErrorIs(t, err, commands.ErrInternal)
		}
		assert.Equal(t, "1", executes(t, root, "fine"))
	}
	assert.EqualValues(t, 5, worker.Stats().Panics)
	var err error
	require.NotPanics(t, func() { _, err = worker.ExecuteRaw(within(t), "panic", nil) })
	require.ErrorIs(t, err, commands.ErrInternal)
	assert.Equal(t, "handler panicked", err.Error())
}

func TestRule06IDsAreOpaqueAndTwoOriginsMayUseTheSame(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{RouterChannel: "up"})
	up, a, b := meet(t, r, "up", everything), meet(t, r, "a", everything), meet(t, r, "b", everything)
	const id = "  not a UUID\n%20é\x00 "
	for _, p := range []*stranger{a, b} {
		p.say(bus.Envelope{ID: id, Type: bus.ExecuteRequest, Name: "x", Body: []byte(`"` + p.Link.ID() + `"`)})
		p.silent()
	}
	first, second := up.wants(bus.ExecuteRequest), up.wants(bus.ExecuteRequest)
	assert.Equal(t, id, first.ID, "a forwarded request keeps its ID")
	assert.NotEqual(t, id, second.ID, "unless that one is in flight on the link")
	up.say(bus.Envelope{ID: "r2", Type: bus.ExecuteResponse, Thread: second.ID, Body: second.Body})
	up.say(bus.Envelope{ID: "r1", Type: bus.ExecuteResponse, Thread: first.ID, Body: first.Body})
	for _, p := range []*stranger{a, b} {
		got := p.wants(bus.ExecuteResponse)
		assert.Equal(t, id, got.Thread, "and it is restored")
		assert.Equal(t, `"`+p.Link.ID()+`"`, string(got.Body))
	}
	// Used again once it is free here: the far side may still take it for a redelivery.
	c := meet(t, r, "c", everything)
	c.say(bus.Envelope{ID: id, Type: bus.ExecuteRequest, Name: "x"})
	assert.NotEqual(t, id, up.wants(bus.ExecuteRequest).ID)
}

func TestRule07AReplyCountsOnlyFromTheLinkThatWasAsked(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{RouterChannel: "up"})
	up, liar := meet(t, r, "up", everything), meet(t, r, "liar", everything)
	done := make(chan string, 1)
	go func() { done <- executes(t, r, "x") }()
	ask := up.wants(bus.ExecuteRequest)
	liar.say(bus.Envelope{ID: "1", Type: bus.ExecuteResponse, Thread: ask.ID, Body: []byte(`"lie"`)})
	liar.silent()
	up.say(bus.Envelope{ID: "2", Type: bus.ExecuteResponse, Thread: ask.ID, Body: []byte(`"truth"`)})
	assert.Equal(t, `"truth"`, await(t, done))
	assert.EqualValues(t, 1, r.Stats().Late)
}

func TestRule08RoutersInACycleEndInNotFound(t *testing.T) {
	t.Parallel()
	const n = 3
	var rs []*commands.Registry
	for i := range n {
		rs = append(rs, newRegistry(t, commands.Config{ID: fmt.Sprint(i), RouterChannel: fmt.Sprint((i + 1) % n)}))
	}
	for i := range n {
		a, b := pairing.InMemory(rs[(i+1)%n].ID(), rs[i].ID())
		attach(t, rs[i], a)
		attach(t, rs[(i+1)%n], b)
	}
	for _, r := range rs {
		for _, id := range r.Channels() {
			await(t, r.Link(id).Ready())
		}
	}
	_, err := rs[0].ExecuteRaw(within(t), "nowhere", nil)
	require.ErrorIs(t, err, commands.ErrNotFound)
	var forwarded uint64
	for _, r := range rs {
		forwarded += r.Stats().Forwarded
		assert.Zero(t, r.Stats().Pending)
		assert.Zero(t, r.Stats().Serving)
	}
	assert.LessOrEqual(t, forwarded, uint64(bus.MaxHops))
}

func TestRule08ALoopThroughPeersThatCountNoHops(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{RouterChannel: "up"})
	up, side := meet(t, r, "up", 0), meet(t, r, "side", 0)
	done := make(chan error, 1)
	go func() { _, err := r.ExecuteRaw(within(t), "x", nil); done <- err }()
	ask := up.wants(bus.ExecuteRequest)
	side.say(bus.Envelope{ID: ask.ID, Type: bus.ExecuteRequest, Name: "x"})
	back := side.wants(bus.ExecuteResponse)
	require.NotNil(t, back.Fault)
	up.say(bus.Envelope{ID: "1", Type: bus.ExecuteResponse, Thread: ask.ID, Fault: back.Fault})
	require.ErrorIs(t, await(t, done), commands.ErrNotFound)
}

type failingPublisher struct{ err error }

func (p *failingPublisher) Close() error { return nil }

func (p *failingPublisher) Publish(string, ...*message.Message) error { return p.err }
