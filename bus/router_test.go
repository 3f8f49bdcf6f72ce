package bus_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
)

func newBus(t *testing.T, id string) *bus.Bus {
	b := bus.New(bus.Options{ID: id, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func await[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		require.FailNow(t, "waited in vain")
	}
	return v
}

func TestALinkRunsInsideAnExistingRouter(t *testing.T) {
	t.Parallel()
	ps := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	require.NoError(t, err)
	seen := make(chan string, 100)
	router.AddMiddleware(func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			seen <- m.Metadata["leat-type"]
			return h(m)
		}
	})
	inside, outside := newBus(t, "inside"), newBus(t, "outside")
	l, err := inside.Attach(context.Background(), &bus.Channel{ID: "outside", Publisher: ps, Out: "to-outside"})
	require.NoError(t, err)
	router.AddConsumerHandler("leat", "to-inside", ps, l.Deliver)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- router.Run(ctx) }()
	await(t, router.Running())
	o, err := outside.Attach(context.Background(), &bus.Channel{ID: "inside", Publisher: ps, Out: "to-inside", Subscriber: ps, In: "to-outside"})
	require.NoError(t, err)
	await(t, o.Ready())
	await(t, l.Ready()) // whatever was lost before both were there is said again
	assert.Contains(t, []string{"list.commands.request", "list.commands.response"}, await(t, seen), "the router's middleware sees delivery")
	require.NoError(t, o.Close())
	await(t, l.Done())
	require.ErrorIs(t, l.Err(), bus.ErrPeerClosed)
	require.NoError(t, l.Deliver(message.NewMessage("1", nil)), "a nack would only bring it again")
	cancel()
	require.NoError(t, await(t, ended))
	require.NoError(t, ps.Close())
}

func TestLogHandlerBridgesToWatermill(t *testing.T) {
	t.Parallel()
	capture := watermill.NewCaptureLogger()
	log := slog.New(bus.NewLogHandler(capture)).With("bus", "b").WithGroup("g").With("x", 1)
	log.Debug("debugging")
	log.Info("informing", "y", 2)
	log.Warn("warning", "error", errors.New("careful"))
	failure := errors.New("boom")
	log.Error("failing", "error", failure, slog.Group("h", "z", 3))
	fields := watermill.LogFields{"bus": "b", "g.x": int64(1)}
	assert.True(t, capture.Has(watermill.CapturedMessage{Level: watermill.DebugLogLevel, Msg: "debugging", Fields: fields}))
	assert.True(t, capture.Has(watermill.CapturedMessage{Level: watermill.InfoLogLevel, Msg: "informing", Fields: fields.Add(watermill.LogFields{"g.y": int64(2)})}))
	assert.True(t, capture.Has(watermill.CapturedMessage{Level: watermill.ErrorLogLevel, Msg: "failing", Err: failure, Fields: fields.Add(watermill.LogFields{"g.h.z": int64(3)})}))
	assert.Len(t, capture.Captured()[watermill.InfoLogLevel], 2, "Watermill knows no warning")
	log.Log(context.Background(), slog.LevelDebug-4, "tracing")
	assert.Len(t, capture.Captured()[watermill.TraceLogLevel], 1)
}
