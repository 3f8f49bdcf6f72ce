package pairingtest

import (
	"context"
	"encoding/json"
	"strconv"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func shutdownStatements() []statement {
	return []statement{
		{"waits_for_handlers_and_their_replies", shutdownWaits, nil},
		{"refuses_new_work", shutdownRefuses, nil},
		{"lets_nested_work_pass", shutdownNested, nil},
		{"waits_for_the_listeners_queues", shutdownListeners, nil},
		{"says_what_is_left_when_its_ctx_ends", shutdownTimesOut, nil},
	}
}

// shuttingDown begins a shutdown and returns when it refuses work.
func (k *kit) shuttingDown(r *commands.Registry) <-chan error {
	k.t.Helper()
	c := make(chan error, 1)
	go func() { c <- r.Shutdown(k.ctx) }()
	k.eventually("the registry refuses work", func() bool {
		_, err := r.ExecuteRaw(k.ctx, "nothing", nil)
		return err != nil && commands.CodeOf(err) == commands.ChannelDisconnected
	})
	return c
}

func shutdownWaits(k *kit) {
	root, worker := k.couple()
	s := k.stuck(worker, "stuck")
	var calls []<-chan answer
	for range 10 {
		calls = append(calls, k.call(k.ctx, root, "stuck", ""))
	}
	for range calls {
		recv(k, s.started, "a handler's start")
	}
	link := root.Link("worker")
	down := k.shuttingDown(worker)
	require.Empty(k.t, down)
	s.let()
	for _, c := range calls {
		a := recv(k, c, "the answer")
		require.NoError(k.t, a.err)
		require.Equal(k.t, `"released"`, string(a.body))
	}
	require.NoError(k.t, recv(k, down, "the shutdown"))
	k.awaits(link.Done(), "the peer's half's end")
	require.ErrorIs(k.t, link.Err(), bus.ErrPeerClosed)
	k.settled(root)
}

func shutdownRefuses(k *kit) {
	root, worker := k.couple()
	s := k.stuck(worker, "stuck")
	k.echo(worker, "echo")
	k.echo(root, "root.echo")
	c := k.call(k.ctx, root, "stuck", "")
	recv(k, s.started, "the handler's start")
	down := k.shuttingDown(worker)
	k.fails(root, "echo", commands.ErrChannelDisconnected)
	k.fails(worker, "echo", commands.ErrChannelDisconnected)
	k.fails(worker, "root.echo", commands.ErrChannelDisconnected)
	require.Error(k.t, registers(k, worker, "new"))
	require.Error(k.t, worker.Events().EmitRaw(k.ctx, "x", nil))
	s.let()
	require.NoError(k.t, recv(k, c, "the answer").err)
	require.NoError(k.t, recv(k, down, "the shutdown"))
}

func shutdownNested(k *kit) {
	root, worker := k.couple()
	started, release := make(chan struct{}), make(chan struct{})
	heard := k.inbox(root, "x", 1)
	k.echo(root, "root.echo")
	k.echo(worker, "echo")
	k.raw(root, "back", func(ctx context.Context, req json.RawMessage) (json.RawMessage, error) {
		return root.ExecuteRaw(ctx, "echo", req)
	})
	k.raw(worker, "outer", func(ctx context.Context, req json.RawMessage) (json.RawMessage, error) {
		close(started)
		<-release
		if err := worker.Events().EmitRaw(ctx, "x", req); err != nil {
			return nil, err
		}
		for _, id := range []string{"echo", "root.echo", "back"} {
			if _, err := worker.ExecuteRaw(ctx, id, req); err != nil {
				return nil, err
			}
		}
		return req, nil
	})
	c := k.call(k.ctx, root, "outer", "1")
	k.awaits(started, "the handler's start")
	down := k.shuttingDown(worker)
	close(release)
	a := recv(k, c, "the answer")
	require.NoError(k.t, a.err)
	require.Equal(k.t, "1", string(a.body))
	k.awaits(heard.full, "the event")
	require.NoError(k.t, recv(k, down, "the shutdown"))
}

func shutdownListeners(k *kit) {
	root, worker := k.couple()
	started, release := make(chan struct{}, 32), make(chan struct{})
	var handled atomic.Int64
	_, err := worker.Events().ListenRaw("x", func(context.Context, string, json.RawMessage) {
		started <- struct{}{}
		<-release
		handled.Add(1)
	})
	require.NoError(k.t, err)
	for i := range 20 {
		k.emit(root, "x", strconv.Itoa(i))
	}
	k.flush(root)
	recv(k, started, "the listener's start")
	down := k.shuttingDown(worker)
	require.Empty(k.t, down)
	close(release)
	require.NoError(k.t, recv(k, down, "the shutdown"))
	require.EqualValues(k.t, 20, handled.Load(), "queued events were dropped")
}

func shutdownTimesOut(k *kit) {
	root, worker := k.couple()
	s := k.stuck(worker, "stuck")
	c := k.call(k.ctx, root, "stuck", "")
	recv(k, s.started, "the handler's start")
	ctx, cancel := context.WithTimeout(k.ctx, k.brief())
	defer cancel()
	err := worker.Shutdown(ctx)
	require.ErrorIs(k.t, err, context.DeadlineExceeded)
	require.Contains(k.t, err.Error(), "1 ", "it says how much was left")
	require.Equal(k.t, context.Canceled, recv(k, s.ended, "the handler's end"))
	require.ErrorIs(k.t, recv(k, c, "the answer").err, commands.ErrChannelDisconnected)
	k.settled(root, worker)
}
