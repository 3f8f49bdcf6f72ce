package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

func TestRule17AFailedAttachLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{})
	refuse := errors.New("no such topic")
	ch := &bus.Channel{ID: "x", Publisher: &failingPublisher{}, Out: "o", Subscriber: subscriberFunc(func(context.Context) (<-chan *message.Message, error) { return nil, refuse }), In: "i"}
	_, err := r.RegisterChannel(within(t), ch)
	require.ErrorIs(t, err, refuse)
	assert.Empty(t, r.Channels())

	a, b := pairing.InMemory("x", "y")
	attach(t, r, a)
	_, err = r.RegisterChannel(within(t), a)
	require.ErrorIs(t, err, bus.ErrInvalidChannel, "single use")
	other, _ := pairing.InMemory("x", "z")
	_, err = r.RegisterChannel(within(t), other)
	require.ErrorIs(t, err, bus.ErrDuplicateChannel)
	assert.Equal(t, []string{"x"}, r.Channels())

	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	peer := newRegistry(t, commands.Config{})
	_, err = peer.RegisterChannel(cancelled, b)
	require.ErrorIs(t, err, context.Canceled)
	attach(t, peer, b) // still usable
	attach(t, peer, other)

	for name, ch := range map[string]*bus.Channel{"nil": nil, "zero": {}, "no topics": {ID: "q", Publisher: &failingPublisher{}}} {
		_, err := r.RegisterChannel(within(t), ch)
		require.ErrorIs(t, err, bus.ErrInvalidChannel, name)
	}
}

type subscriberFunc func(context.Context) (<-chan *message.Message, error)

func (f subscriberFunc) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	return f(ctx)
}
func (subscriberFunc) Close() error { return nil }

func TestRule17WhatIsSentBeforeTheOtherHalfIsThereIsHeld(t *testing.T) {
	t.Parallel()
	root, worker := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "worker", RouterChannel: "root"})
	toWorker, toRoot := pairing.InMemory("worker", "root")
	handle(t, root, "x", `1`)
	attach(t, worker, toRoot)
	done := make(chan string, 1)
	go func() { done <- executes(t, worker, "x") }()
	for i := range 100 {
		require.NoError(t, worker.Events().EmitRaw(within(t), "n", json.RawMessage(fmt.Sprint(i))))
	}
	var got []string
	all := make(chan struct{})
	_, err := root.Events().ListenRaw("n", func(_ context.Context, _ string, p json.RawMessage) {
		if got = append(got, string(p)); len(got) == 100 {
			close(all)
		}
	})
	require.NoError(t, err)
	attach(t, root, toWorker)
	assert.Equal(t, "1", await(t, done))
	await(t, all)
	for i, p := range got {
		require.Equal(t, fmt.Sprint(i), p)
	}
}

func TestRule17EverythingAfterCloseIsErrClosed(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{RouterChannel: "peer"})
	c := commands.Define[commands.Void, commands.Void]("local", "")
	require.NoError(t, commands.Register(within(t), r, c, func(context.Context, commands.Void) (commands.Void, error) { return commands.Void{}, nil }))
	l, err := r.Events().ListenRaw(">", func(context.Context, string, json.RawMessage) {})
	require.NoError(t, err)
	peer := meet(t, r, "peer", everything)
	for range 3 {
		require.NoError(t, r.Close())
	}
	await(t, peer.Link.Done())
	require.ErrorIs(t, peer.Link.Err(), bus.ErrClosed)
	await(t, l.Done())
	ctx := within(t)
	_, err = commands.Execute(ctx, r, c, commands.Void{})
	require.ErrorIs(t, err, commands.ErrClosed)
	_, err = r.ExecuteRaw(ctx, "remote", nil)
	require.ErrorIs(t, err, commands.ErrClosed)
	require.ErrorIs(t, err, commands.ErrChannelDisconnected)
	require.ErrorIs(t, registerRaw(r, "y"), commands.ErrClosed)
	require.ErrorIs(t, r.Events().EmitRaw(ctx, "e", nil), commands.ErrClosed)
	_, err = r.Events().ListenRaw("e", func(context.Context, string, json.RawMessage) {})
	require.ErrorIs(t, err, commands.ErrClosed)
	ch, _ := pairing.InMemory("p", "q")
	_, err = r.RegisterChannel(ctx, ch)
	require.ErrorIs(t, err, commands.ErrClosed)
	require.ErrorIs(t, peer.Link.Send(bus.Envelope{ID: "1", Type: bus.ListRequest}), bus.ErrClosed)
	require.NoError(t, r.Shutdown(ctx))
	require.NoError(t, peer.Link.Close())
}

func TestRule17CloseFromInsideHandlersAndListeners(t *testing.T) {
	t.Parallel()
	for _, from := range []string{"handler", "listener", "local handler"} {
		root, worker := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "worker", RouterChannel: "root"})
		closed := make(chan error, 2)
		handleFunc(t, worker, "close", func(context.Context, json.RawMessage) (json.RawMessage, error) {
			closed <- worker.Close()
			return nil, nil
		})
		_, err := worker.Events().ListenRaw("close", func(context.Context, string, json.RawMessage) { closed <- worker.Close() })
		require.NoError(t, err)
		down, _ := join(t, root, worker)
		switch from {
		case "handler":
			_, err = root.ExecuteRaw(within(t), "close", nil)
			require.ErrorIs(t, err, commands.ErrChannelDisconnected)
		case "local handler":
			_, err = worker.ExecuteRaw(within(t), "close", nil)
			require.NoError(t, err)
		default:
			require.NoError(t, root.Events().EmitRaw(within(t), "close", nil))
		}
		require.NoError(t, await(t, closed), from)
		await(t, down.Done())
	}
}

func TestRule17StartAndStopHammeredFromManyGoroutines(t *testing.T) {
	t.Parallel()
	root := newRegistry(t, commands.Config{ID: "root"})
	handle(t, root, "root.x", "1")
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 25 {
				worker := newRegistry(t, commands.Config{ID: fmt.Sprint("w", g%3), RouterChannel: "root"})
				down, up := pairing.InMemory(worker.ID(), "root")
				var inner sync.WaitGroup
				inner.Go(func() {
					if l, err := root.RegisterChannel(context.Background(), down); err == nil {
						if rand.IntN(2) == 0 {
							l.Close()
						}
					} else {
						assert.True(t, errors.Is(err, bus.ErrDuplicateChannel) || errors.Is(err, bus.ErrClosed), err)
						_ = up.Close()
					}
				})
				inner.Go(func() { _, _ = worker.RegisterChannel(context.Background(), up) })
				inner.Go(func() { _ = registerRaw(worker, fmt.Sprint("c", g, ".", i)) })
				inner.Go(func() { _, _ = worker.ExecuteRaw(context.Background(), "root.x", nil) })
				inner.Go(func() { _ = worker.Events().EmitRaw(context.Background(), "e", nil) })
				inner.Go(func() {
					if i%2 == 0 {
						_ = worker.Close()
					} else {
						ctx, cancel := context.WithCancel(context.Background())
						cancel()
						_ = worker.Shutdown(ctx)
					}
				})
				inner.Wait()
				if l := root.Link(worker.ID()); l != nil {
					l.Close()
				}
				assert.NoError(t, worker.Close())
			}
		})
	}
	wg.Wait()
	assert.Equal(t, "1", executes(t, root, "root.x"))
	s := root.Stats()
	assert.Zero(t, s.Pending+s.Serving+s.Reserved, "%+v", s)
}

func TestRule18ShutdownDrains(t *testing.T) {
	t.Parallel()
	root, worker := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "worker", RouterChannel: "root"})
	began, release := make(chan struct{}), make(chan struct{})
	handle(t, worker, "inner", `"inner"`)
	handle(t, root, "outer", `"outer"`)
	handled := make(chan string, 10)
	_, err := worker.Events().ListenRaw("slow", func(ctx context.Context, _ string, _ json.RawMessage) {
		res, err := worker.ExecuteRaw(ctx, "outer", nil)
		handled <- fmt.Sprint(string(res), err)
	})
	require.NoError(t, err)
	handleFunc(t, worker, "work", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		close(began)
		<-release
		if err := worker.Events().EmitRaw(ctx, "slow", nil); err != nil {
			return nil, err
		}
		if _, err := worker.ExecuteRaw(ctx, "outer", nil); err != nil { // depth 1: passes, here
			return nil, err
		}
		return worker.ExecuteRaw(ctx, "inner", nil)
	})
	join(t, root, worker)
	reply := make(chan string, 1)
	go func() { reply <- executes(t, root, "work") }()
	await(t, began)
	done := make(chan error, 1)
	go func() { done <- worker.Shutdown(within(t)) }()
	for worker.Events().EmitRaw(within(t), "probe", nil) == nil { // until it drains
	}
	for _, r := range []*commands.Registry{root, worker} {
		_, err = r.ExecuteRaw(within(t), "inner", nil)
		require.ErrorIs(t, err, commands.ErrChannelDisconnected, "new work is refused, from "+r.ID())
	}
	select {
	case err := <-done:
		require.Fail(t, "shutdown did not wait", "%v", err)
	default:
	}
	close(release)
	assert.Equal(t, `"inner"`, await(t, reply), "the running handler finishes, and its reply arrives")
	require.NoError(t, await(t, done))
	assert.Equal(t, `"outer"<nil>`, await(t, handled), "so does the listener's queue")
}

func TestRule18ShutdownThatRunsOutOfTimeCancelsAndSaysWhatWasLeft(t *testing.T) {
	t.Parallel()
	root, worker := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "worker", RouterChannel: "root"})
	began, ended := make(chan struct{}), make(chan struct{})
	handleFunc(t, worker, "work", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		close(began)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	})
	join(t, root, worker)
	reply := make(chan error, 1)
	go func() { _, err := root.ExecuteRaw(within(t), "work", nil); reply <- err }()
	await(t, began)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := worker.Shutdown(ctx)
	require.ErrorIs(t, err, context.Canceled)
	assert.Contains(t, err.Error(), "1 ")
	await(t, ended)
	require.ErrorIs(t, await(t, reply), commands.ErrChannelDisconnected)
}

func TestRule19ClosingOneHalfDrainsRefusesAndEndsTheOther(t *testing.T) {
	t.Parallel()
	root, worker := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "worker", RouterChannel: "root", MaxInFlight: 1})
	began := make(chan struct{})
	handleFunc(t, worker, "work", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		close(began)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	var got []string
	done := make(chan struct{})
	_, err := root.Events().ListenRaw("n", func(_ context.Context, _ string, p json.RawMessage) {
		if got = append(got, string(p)); len(got) == 500 {
			close(done)
		}
	})
	require.NoError(t, err)
	down, up := join(t, root, worker)
	replies := make(chan error, 2)
	call := func() { _, err := root.ExecuteRaw(within(t), "work", nil); replies <- err }
	go call()
	await(t, began)
	go call() // waits in the backlog
	for worker.Stats().Waiting == 0 {
		require.NoError(t, down.Flush(within(t)))
	}
	for i := range 500 {
		require.NoError(t, worker.Events().EmitRaw(within(t), "n", json.RawMessage(fmt.Sprint(i))))
	}
	require.NoError(t, up.Close())
	await(t, done)
	for range 2 {
		require.ErrorIs(t, await(t, replies), commands.ErrChannelDisconnected)
	}
	await(t, down.Done())
	require.ErrorIs(t, down.Err(), bus.ErrPeerClosed)
	require.ErrorIs(t, up.Err(), bus.ErrClosed)
	assert.Empty(t, root.Channels())
	assert.Zero(t, up.Stats().Unsent)
}

func TestRule19CloseOfTheChannelIsCalledOnce(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{})
	in := make(chan *message.Message)
	var mu sync.Mutex
	calls := 0
	l := attach(t, r, &bus.Channel{ID: "x", Publisher: &failingPublisher{}, Out: "o", In: "i",
		Subscriber: subscriberFunc(func(context.Context) (<-chan *message.Message, error) { return in, nil }),
		Close:      func() error { mu.Lock(); defer mu.Unlock(); calls++; return nil }})
	var wg sync.WaitGroup
	wg.Go(func() { close(in) })
	for range 10 {
		wg.Go(func() { assert.NoError(t, l.Close()) })
	}
	wg.Wait()
	await(t, l.Done())
	assert.Equal(t, 1, calls)
}

func TestRule20BadInputIsRejectedCountedAndTheLinkLivesOn(t *testing.T) {
	t.Parallel()
	var log syncBuilder
	r := newRegistry(t, commands.Config{MaxMessageBytes: 1000, Logger: log.logger()})
	handle(t, r, "x", "1")
	p := meet(t, r, "peer", everything)
	metadata := func(kv ...string) *message.Message {
		m := message.NewMessage("1", nil)
		for i := 0; i < len(kv); i += 2 {
			m.Metadata[kv[i]] = kv[i+1]
		}
		return m
	}
	bad := []*message.Message{
		message.NewMessage("", nil),
		{UUID: "no metadata map"},
		metadata("leat-type", "execute.command.request", "leat-id", "1"),
		metadata("leat-type", "nonsense", "leat-id", "1"),
		metadata("leat-type", "event", "leat-id", "1", "leat-name", "%zz"),
		metadata("leat-type", "event", "leat-id", "1", "leat-name", "e", "leat-hops", "-1"),
		metadata("leat-type", "event", "leat-id", "1", "leat-name", "e", "leat-life", "soon"),
		metadata("leat-type", "list.commands.response", "leat-id", "1", "leat-thread", "1"),
		metadata("leat-type", "register.command.request", "leat-id", "1"),
		metadata("leat-type", "execute.command.response", "leat-id", "1", "leat-thread", "1", "leat-fault", "not_found"),
	}
	for _, m := range bad {
		p.deliver(m)
	}
	p.say(bus.Envelope{ID: "big", Type: bus.ExecuteRequest, Name: "x", Body: json.RawMessage(`"` + strings.Repeat("x", 1000) + `"`)})
	refused := p.wants(bus.ExecuteResponse)
	assert.Equal(t, "invalid_request", refused.Fault.Code, "whoever waits is told")
	p.say(bus.Envelope{ID: "deep", Type: bus.ExecuteRequest, Name: "x", Depth: 17})
	assert.Equal(t, "internal_error", p.wants(bus.ExecuteResponse).Fault.Code)
	p.say(bus.Envelope{ID: "garbage", Type: bus.ExecuteRequest, Name: "x", Body: json.RawMessage(`{"a":`)})
	assert.Equal(t, "invalid_request", p.wants(bus.ExecuteResponse).Fault.Code)
	p.say(bus.Envelope{ID: "good", Type: bus.ExecuteRequest, Name: "x"})
	assert.Equal(t, "1", string(p.wants(bus.ExecuteResponse).Body))
	assert.EqualValues(t, len(bad)+1, p.Link.Stats().Rejected)
	assert.Equal(t, len(bad)+1, strings.Count(log.String(), "message rejected"))

	_, err := r.ExecuteRaw(within(t), "remote", json.RawMessage(`{"a":`))
	require.Error(t, err)
	require.ErrorIs(t, r.Events().EmitRaw(within(t), "e", json.RawMessage(`"`+strings.Repeat("x", 1000)+`"`)), bus.ErrTooLarge)
}
