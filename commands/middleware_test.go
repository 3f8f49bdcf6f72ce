package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/components/delay"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/sony/gobreaker"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/dedupe"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

// wrapped is a worker with handler middleware, called from a root and from itself.
type wrapped struct {
	root, worker *commands.Registry
	runs         atomic.Int64
	fail         atomic.Int64 // so many runs fail
	ctxs         chan context.Context
}

var errFlaky = errors.New("flaky")

func wrap(t *testing.T, codec bus.Codec, mws ...message.HandlerMiddleware) *wrapped {
	t.Helper()
	w := &wrapped{ctxs: make(chan context.Context, 100)}
	w.root = newRegistry(t, commands.Config{ID: "root"})
	w.worker = newRegistry(t, commands.Config{ID: "worker", RouterChannel: "root", Middleware: mws})
	handleFunc(t, w.worker, "work", func(ctx context.Context, req json.RawMessage) (json.RawMessage, error) {
		w.runs.Add(1)
		w.ctxs <- ctx
		if w.fail.Add(-1) >= 0 {
			return nil, errFlaky
		}
		return req, ctx.Err()
	})
	join(t, w.root, w.worker, pairing.Options{Codec: codec})
	return w
}

// everyWay calls the command over both codecs and locally, with fresh middleware each time.
func everyWay(t *testing.T, mw func() message.HandlerMiddleware, check func(t *testing.T, w *wrapped, call func(context.Context) (string, error))) {
	for name, codec := range map[string]bus.Codec{"binary": bus.Binary, "json": bus.JSON, "local": bus.Binary} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := wrap(t, codec, mw())
			r := w.root
			if name == "local" {
				r = w.worker
			}
			check(t, w, func(ctx context.Context) (string, error) {
				res, err := r.ExecuteRaw(ctx, "work", json.RawMessage(`"ping"`))
				return string(res), err
			})
		})
	}
}

func TestRule21Recoverer(t *testing.T) {
	t.Parallel()
	seen := make(chan error, 10)
	spy := func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			out, err := middleware.Recoverer(h)(m)
			seen <- err
			return out, err
		}
	}
	root, worker := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "worker", RouterChannel: "root", Middleware: []message.HandlerMiddleware{spy}})
	handleFunc(t, worker, "panic", func(context.Context, json.RawMessage) (json.RawMessage, error) { panic("secret") })
	join(t, root, worker)
	_, err := root.ExecuteRaw(within(t), "panic", nil)
	require.ErrorIs(t, err, commands.ErrInternal)
	assert.Equal(t, "handler panicked", err.Error(), "neither the value nor the stack crosses the wire")
	var p middleware.RecoveredPanicError
	assert.ErrorAs(t, await(t, seen), &p, "the middleware sees the panic")
}

func TestRule21Retry(t *testing.T) {
	t.Parallel()
	everyWay(t, func() message.HandlerMiddleware {
		return middleware.Retry{MaxRetries: 3, InitialInterval: time.Microsecond, MaxInterval: time.Microsecond, Multiplier: 1}.Middleware
	}, func(t *testing.T, w *wrapped, call func(context.Context) (string, error)) {
		w.fail.Store(2)
		res, err := call(within(t))
		require.NoError(t, err)
		assert.Equal(t, `"ping"`, res)
		assert.EqualValues(t, 3, w.runs.Load(), "the handler's error goes up the chain")
		w.fail.Store(100)
		_, err = call(within(t))
		require.ErrorIs(t, err, commands.ErrInternal)
		assert.Equal(t, "flaky", err.Error())
	})
}

func TestRule21Timeout(t *testing.T) {
	t.Parallel()
	everyWay(t, func() message.HandlerMiddleware { return middleware.Timeout(time.Hour) },
		func(t *testing.T, w *wrapped, call func(context.Context) (string, error)) {
			_, err := call(context.Background())
			require.NoError(t, err)
			at, ok := (<-w.ctxs).Deadline()
			assert.True(t, ok, "the handler's ctx is the message's")
			assert.Less(t, time.Until(at), time.Hour+time.Second)
		})
}

func TestRule21CorrelationID(t *testing.T) {
	t.Parallel()
	var replies = make(chan string, 10)
	spy := func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			out, err := h(m)
			if len(out) > 0 {
				replies <- middleware.MessageCorrelationID(out[0])
			}
			return out, err
		}
	}
	everyWay(t, func() message.HandlerMiddleware {
		return func(h message.HandlerFunc) message.HandlerFunc { return spy(middleware.CorrelationID(h)) }
	}, func(t *testing.T, w *wrapped, call func(context.Context) (string, error)) {
		ctx := bus.WithMetadata(within(t), message.Metadata{middleware.CorrelationIDMetadataKey: "corr 1"})
		_, err := call(ctx)
		require.NoError(t, err)
		assert.Equal(t, "corr 1", await(t, replies), "from the caller's metadata to the reply's")
		assert.Equal(t, "corr 1", bus.MetadataFrom(<-w.ctxs)[middleware.CorrelationIDMetadataKey], "and into the handler's ctx")
	})
}

func TestRule21Throttle(t *testing.T) {
	t.Parallel()
	everyWay(t, func() message.HandlerMiddleware { return middleware.NewThrottle(1000, time.Second).Middleware },
		func(t *testing.T, w *wrapped, call func(context.Context) (string, error)) {
			began := time.Now()
			for range 10 {
				_, err := call(within(t))
				require.NoError(t, err)
			}
			assert.GreaterOrEqual(t, time.Since(began), 5*time.Millisecond)
		})
}

func TestRule21CircuitBreaker(t *testing.T) {
	t.Parallel()
	everyWay(t, func() message.HandlerMiddleware {
		return middleware.NewCircuitBreaker(gobreaker.Settings{ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= 2 }}).Middleware
	}, func(t *testing.T, w *wrapped, call func(context.Context) (string, error)) {
		w.fail.Store(100)
		for i := range 4 {
			_, err := call(within(t))
			require.ErrorIs(t, err, commands.ErrInternal)
			assert.Equal(t, []string{"flaky", "flaky", "circuit breaker is open", "circuit breaker is open"}[i], err.Error())
		}
		assert.EqualValues(t, 2, w.runs.Load())
	})
}

func TestRule21DuplicatorRunsTwiceAndTheFirstReplyCounts(t *testing.T) {
	t.Parallel()
	everyWay(t, func() message.HandlerMiddleware { return middleware.Duplicator },
		func(t *testing.T, w *wrapped, call func(context.Context) (string, error)) {
			res, err := call(within(t))
			require.NoError(t, err)
			assert.Equal(t, `"ping"`, res)
			assert.EqualValues(t, 2, w.runs.Load())
			assert.Zero(t, w.root.Stats().Late)
		})
}

func TestRule21IgnoreErrorsIsNeverAnEmptySuccess(t *testing.T) {
	t.Parallel()
	everyWay(t, func() message.HandlerMiddleware { return middleware.NewIgnoreErrors([]error{errFlaky}).Middleware },
		func(t *testing.T, w *wrapped, call func(context.Context) (string, error)) {
			w.fail.Store(1)
			_, err := call(within(t))
			require.ErrorIs(t, err, commands.ErrInternal)
			assert.Contains(t, err.Error(), "without a reply")
		})
}

func TestRule21PoisonQueueKeepsTheMessageAndTheCallerIsTold(t *testing.T) {
	t.Parallel()
	ps := gochannel.NewGoChannel(gochannel.Config{OutputChannelBuffer: 100}, watermill.NopLogger{})
	t.Cleanup(func() { ps.Close() })
	poison, err := ps.Subscribe(context.Background(), "poison")
	require.NoError(t, err)
	everyWay(t, func() message.HandlerMiddleware {
		mw, err := middleware.PoisonQueue(ps, "poison")
		require.NoError(t, err)
		return mw
	}, func(t *testing.T, w *wrapped, call func(context.Context) (string, error)) {
		w.fail.Store(1)
		_, err := call(within(t))
		require.ErrorIs(t, err, commands.ErrInternal)
		m := await(t, poison)
		m.Ack()
		assert.Equal(t, `"ping"`, string(m.Payload))
		assert.Equal(t, "flaky", m.Metadata[middleware.ReasonForPoisonedKey])
	})
}

func TestRule21InstantAckIsHarmless(t *testing.T) {
	t.Parallel()
	everyWay(t, func() message.HandlerMiddleware { return middleware.InstantAck },
		func(t *testing.T, w *wrapped, call func(context.Context) (string, error)) {
			_, err := call(within(t))
			require.NoError(t, err, "the ack does not cancel the handler's ctx")
		})
}

func TestRule21DeduplicatorAsHandlerMiddlewareRefusesTheSecond(t *testing.T) {
	t.Parallel()
	store := dedupe.NewTTLStore(time.Hour)
	t.Cleanup(func() { store.Close() })
	var serial atomic.Int64
	everyWay(t, func() message.HandlerMiddleware {
		prefix := fmt.Sprint(serial.Add(1))
		d := &middleware.Deduplicator{Repository: store, Timeout: time.Minute,
			KeyFactory: func(m *message.Message) (string, error) { return prefix + string(m.Payload), nil }}
		return d.Middleware
	}, func(t *testing.T, w *wrapped, call func(context.Context) (string, error)) {
		_, err := call(within(t))
		require.NoError(t, err)
		_, err = call(within(t)) // another call with the same payload
		require.ErrorIs(t, err, commands.ErrInternal)
		assert.EqualValues(t, 1, w.runs.Load())
	})
}

func TestRule21DelayOnErrorMarksTheMessageOnly(t *testing.T) {
	t.Parallel()
	marks := make(chan string, 10)
	everyWay(t, func() message.HandlerMiddleware {
		d := middleware.DelayOnError{InitialInterval: time.Second, MaxInterval: time.Second, Multiplier: 1}
		return func(h message.HandlerFunc) message.HandlerFunc {
			return func(m *message.Message) ([]*message.Message, error) {
				out, err := d.Middleware(h)(m)
				marks <- m.Metadata[delay.DelayedForKey]
				return out, err
			}
		}
	}, func(t *testing.T, w *wrapped, call func(context.Context) (string, error)) {
		w.fail.Store(1)
		_, err := call(within(t))
		require.ErrorIs(t, err, commands.ErrInternal)
		assert.Equal(t, "1s", await(t, marks))
	})
}

func TestRule21RandomFail(t *testing.T) {
	t.Parallel()
	everyWay(t, func() message.HandlerMiddleware { return middleware.RandomFail(1) },
		func(t *testing.T, w *wrapped, call func(context.Context) (string, error)) {
			_, err := call(within(t))
			require.ErrorIs(t, err, commands.ErrInternal)
			assert.Equal(t, "random fail occurred", err.Error())
			assert.Zero(t, w.runs.Load())
		})
	everyWay(t, func() message.HandlerMiddleware { return middleware.RandomPanic(1) },
		func(t *testing.T, w *wrapped, call func(context.Context) (string, error)) {
			_, err := call(within(t))
			require.ErrorIs(t, err, commands.ErrInternal)
			assert.Equal(t, "handler panicked", err.Error())
		})
}

func TestRule21MiddlewareMayChangeRequestAndReply(t *testing.T) {
	t.Parallel()
	everyWay(t, func() message.HandlerMiddleware {
		return func(h message.HandlerFunc) message.HandlerFunc {
			return func(m *message.Message) ([]*message.Message, error) {
				m.Payload = message.Payload(`"changed"`)
				out, err := h(m)
				if err == nil {
					out[0].Payload = message.Payload(`[` + string(out[0].Payload) + `]`)
				}
				return out, err
			}
		}
	}, func(t *testing.T, w *wrapped, call func(context.Context) (string, error)) {
		res, err := call(within(t))
		require.NoError(t, err)
		assert.JSONEq(t, `["changed"]`, res)
	})
}

func TestRule21MiddlewareSeesListenersToo(t *testing.T) {
	t.Parallel()
	names := make(chan string, 10)
	mw := func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			names <- m.Metadata["leat-name"] + string(m.Payload)
			return h(m)
		}
	}
	w := wrap(t, nil, mw)
	heard := make(chan string, 10)
	_, err := w.worker.Events().ListenRaw("user.*", func(_ context.Context, _ string, p json.RawMessage) { heard <- string(p) })
	require.NoError(t, err)
	for _, r := range []*commands.Registry{w.root, w.worker} {
		require.NoError(t, r.Events().EmitRaw(within(t), "user.created", json.RawMessage(`7`)))
		assert.Equal(t, "user.created7", await(t, names))
		assert.Equal(t, "7", await(t, heard))
	}
}

func TestRule21InboundMiddlewareIsOutsideOfDedupe(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	mw := func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			d, ok := bus.DeliveryFrom(m.Context())
			if ok && d.Envelope.Type == bus.ExecuteRequest {
				seen.Add(1)
				if d.Envelope.Name == "blocked" {
					return nil, errors.New("not today")
				}
				if d.Envelope.Name == "panic" {
					panic("inbound")
				}
			}
			return h(m)
		}
	}
	r := newRegistry(t, commands.Config{Inbound: []message.HandlerMiddleware{mw, middleware.Duplicator}})
	var runs atomic.Int64
	handleFunc(t, r, "x", func(context.Context, json.RawMessage) (json.RawMessage, error) { runs.Add(1); return nil, nil })
	p := meet(t, r, "peer", everything)
	for range 3 { // redelivered
		p.say(bus.Envelope{ID: "1", Type: bus.ExecuteRequest, Name: "x"})
	}
	p.say(bus.Envelope{ID: "2", Type: bus.ExecuteRequest, Name: "blocked"})
	p.say(bus.Envelope{ID: "3", Type: bus.ExecuteRequest, Name: "panic"})
	assert.Equal(t, "1", p.wants(bus.ExecuteResponse).Thread)
	p.say(bus.Envelope{ID: "4", Type: bus.ExecuteRequest, Name: "x"})
	assert.Equal(t, "4", p.wants(bus.ExecuteResponse).Thread, "a duplicate ends without a reply, and the link lives on")
	assert.EqualValues(t, 2, runs.Load())
	assert.EqualValues(t, 6, seen.Load())
	assert.EqualValues(t, 2, p.Link.Stats().Rejected)
	assert.GreaterOrEqual(t, r.Stats().Bus.Duplicates, uint64(2+2), "redelivered twice, and duplicated by Duplicator")
}

func TestRule21InboundMiddlewareMayCloseItsLink(t *testing.T) {
	t.Parallel()
	var r *commands.Registry
	closed := make(chan error, 1)
	mw := func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			if d, _ := bus.DeliveryFrom(m.Context()); d.Envelope.Name == "close" {
				closed <- r.Close()
			}
			return h(m)
		}
	}
	r = newRegistry(t, commands.Config{Inbound: []message.HandlerMiddleware{mw}})
	p := meet(t, r, "peer", everything)
	go p.say(bus.Envelope{ID: "1", Type: bus.Event, Name: "close"})
	require.NoError(t, await(t, closed))
	await(t, p.Link.Done())
}
