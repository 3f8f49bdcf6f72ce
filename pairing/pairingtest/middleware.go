package pairingtest

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/dedupe"
	"github.com/leatbus/leat/commands"
)

func middlewareRules() []group {
	return []group{{"rule21_middleware", []statement{
		{"handler_middleware_wraps_remote_and_local_runs", wrapsRuns, nil},
		{"first_is_outermost", firstIsOutermost, nil},
		{"retry_sees_the_handler_s_error", retryWorks, nil},
		{"error_codes_survive_the_chain", codesSurvive, nil},
		{"a_swallowed_request_is_internal_error", swallowed, nil},
		{"a_duplicate_in_the_handler_chain_is_no_success", handlerDuplicate, nil},
		{"what_it_adds_to_the_reply_s_metadata_travels", replyMetadata, nil},
		{"recoverer_keeps_the_stack_here", recovererWorks, nil},
		{"timeout_reaches_the_handler", timeoutWorks, nil},
		{"blocking_holds_up_nobody_else", blockingMiddleware, nil},
		{"listeners_are_wrapped", wrapsListeners, nil},
		{"inbound_sees_every_message_before_dedupe", inboundSees, nil},
		{"inbound_can_reject", inboundRejects, nil},
		{"inbound_panic_costs_one_message", inboundPanics, nil},
	}}}
}

// counting counts the runs that go through it.
func counting(n *atomic.Int64) message.HandlerMiddleware {
	return func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			n.Add(1)
			return h(m)
		}
	}
}

// served is a worker with this middleware, and a root that calls it.
func (k *kit) served(mws ...message.HandlerMiddleware) (root, worker *commands.Registry) {
	k.t.Helper()
	root, worker = k.registry("root"), k.registry("worker", under("root"), handling(mws...))
	k.connect(root, worker)
	return root, worker
}

func wrapsRuns(k *kit) {
	var n atomic.Int64
	root, worker := k.served(counting(&n))
	k.echo(worker, "echo")
	require.Equal(k.t, `{"a":null}`, k.ok(root, "echo", `{"a":null}`))
	require.EqualValues(k.t, 1, n.Load())
	require.Equal(k.t, "1", k.ok(worker, "echo", "1"))
	require.EqualValues(k.t, 2, n.Load(), "a local call is seen too")
	typed := commands.Define[int, int]("typed", "")
	require.NoError(k.t, commands.Register(k.ctx, worker, typed, func(_ context.Context, n int) (int, error) { return n + 1, nil }))
	for _, r := range []*commands.Registry{root, worker} {
		got, err := commands.Execute(k.ctx, r, typed, 1)
		require.NoError(k.t, err)
		require.Equal(k.t, 2, got)
	}
	require.EqualValues(k.t, 4, n.Load())
	k.settled(root, worker)
}

func firstIsOutermost(k *kit) {
	trail := make(chan string, 8)
	named := func(name string) message.HandlerMiddleware {
		return func(h message.HandlerFunc) message.HandlerFunc {
			return func(m *message.Message) ([]*message.Message, error) {
				trail <- name
				return h(m)
			}
		}
	}
	root, worker := k.served(named("first"), named("second"))
	k.raw(worker, "x", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		trail <- "handler"
		return nil, nil
	})
	k.ok(root, "x", "")
	for _, want := range []string{"first", "second", "handler"} {
		require.Equal(k.t, want, recv(k, trail, "the next one"))
	}
}

func retryWorks(k *kit) {
	retry := middleware.Retry{MaxRetries: 5, InitialInterval: time.Microsecond}
	root, worker := k.served(retry.Middleware)
	var runs atomic.Int64
	k.raw(worker, "flaky", func(_ context.Context, req json.RawMessage) (json.RawMessage, error) {
		if runs.Add(1) < 4 {
			return nil, errors.New("not yet")
		}
		return req, nil
	})
	require.Equal(k.t, "7", k.ok(root, "flaky", "7"))
	require.EqualValues(k.t, 4, runs.Load())
	runs.Store(0)
	require.Equal(k.t, "8", k.ok(worker, "flaky", "8"))
	k.raw(worker, "hopeless", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		return nil, commands.Errorf(commands.InvalidRequest, "never")
	})
	require.Equal(k.t, "never", k.fails(root, "hopeless", commands.ErrInvalidRequest).Error())
	k.settled(root, worker)
}

func codesSurvive(k *kit) {
	var n atomic.Int64
	rs := k.chain(3, handling(counting(&n)))
	k.raw(rs[2], "x", func(context.Context, json.RawMessage) (json.RawMessage, error) {
		return nil, commands.Errorf(commands.NotFound, "no such thing")
	})
	for _, r := range rs {
		require.Equal(k.t, "no such thing", k.fails(r, "x", commands.ErrNotFound).Error())
	}
	require.EqualValues(k.t, 3, n.Load(), "relays run no handler")
	require.True(k.t, has(rs[0], "x"))
}

func swallowed(k *kit) {
	ignore := middleware.NewIgnoreErrors([]error{errTemporary})
	root, worker := k.served(ignore.Middleware)
	k.raw(worker, "x", func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, errTemporary })
	k.fails(root, "x", commands.ErrInternal)
	k.fails(worker, "x", commands.ErrInternal)
	k.settled(root, worker)
}

var errTemporary = errors.New("temporary")

func handlerDuplicate(k *kit) {
	store := dedupe.NewTTLStore(time.Minute)
	k.t.Cleanup(func() { _ = store.Close() })
	root, worker := k.served(dedupe.Middleware(store, func(m *message.Message) string { return string(m.Payload) }))
	k.echo(worker, "pay")
	require.Equal(k.t, `"order 1"`, k.ok(root, "pay", `"order 1"`))
	k.failsWith(root, "pay", `"order 1"`, commands.ErrInternal)
	require.Equal(k.t, `"order 2"`, k.ok(root, "pay", `"order 2"`))
	k.settled(root, worker)
}

// failsWith is fails with a request.
func (k *kit) failsWith(r *commands.Registry, id, req string, kind error) {
	k.t.Helper()
	_, err := r.ExecuteRaw(k.ctx, id, encoded(req))
	require.ErrorIs(k.t, err, kind)
}

func replyMetadata(k *kit) {
	mark := func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			out, err := h(m)
			for _, o := range out {
				o.Metadata.Set("served_for", m.Metadata.Get("asked_by"))
			}
			return out, err
		}
	}
	r := k.registry("r", handling(mark))
	k.echo(r, "echo")
	w, _ := k.wire(r, "peer", everything, `[]`)
	w.send(bus.Envelope{Type: bus.ExecuteRequest, Name: "echo", Metadata: message.Metadata{"asked_by": "somebody"}})
	require.Equal(k.t, "somebody", w.expect(bus.ExecuteResponse).Metadata["served_for"])
}

func recovererWorks(k *kit) {
	root, worker := k.served(middleware.Recoverer)
	k.raw(worker, "panics", func(context.Context, json.RawMessage) (json.RawMessage, error) { panic("the secret") })
	for _, r := range []*commands.Registry{root, worker} {
		err := k.fails(r, "panics", commands.ErrInternal)
		require.NotContains(k.t, err.Error(), "the secret")
		require.NotContains(k.t, err.Error(), "goroutine")
	}
}

func timeoutWorks(k *kit) {
	root, worker := k.served(middleware.Timeout(k.brief()))
	s := k.stuck(worker, "stuck")
	k.fails(root, "stuck", commands.ErrTimeout)
	require.ErrorIs(k.t, recv(k, s.ended, "the handler's end"), context.DeadlineExceeded)
	k.settled(root, worker)
}

func blockingMiddleware(k *kit) {
	release := make(chan struct{})
	blocked := make(chan struct{}, 1)
	root, worker := k.served(func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			if string(m.Payload) == `"block"` {
				blocked <- struct{}{}
				<-release
			}
			return h(m)
		}
	})
	k.echo(worker, "echo")
	c := k.call(k.ctx, root, "echo", `"block"`)
	recv(k, blocked, "the blocked run")
	require.Equal(k.t, "1", k.ok(root, "echo", "1"))
	close(release)
	require.NoError(k.t, recv(k, c, "the answer").err)
}

func wrapsListeners(k *kit) {
	var n atomic.Int64
	fail := func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			if string(m.Payload) == `"drop"` {
				return nil, errTemporary
			}
			return h(m)
		}
	}
	root, worker := k.served(counting(&n), fail)
	b := k.inbox(worker, "x", 2)
	for _, p := range []string{"1", `"drop"`, "2"} {
		k.emit(root, "x", p)
		k.still(root, worker)
	}
	k.awaits(b.full, "both events")
	require.Equal(k.t, []string{"1", "2"}, b.list())
	require.EqualValues(k.t, 3, n.Load())
}
