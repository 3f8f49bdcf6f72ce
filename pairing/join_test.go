package pairing_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

// goChannel returns a GoChannel that delivers in order and keeps nothing.
func goChannel(t testing.TB) *gochannel.GoChannel {
	g := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return g
}

func registry(t testing.TB, id, router string) *commands.Registry {
	t.Helper()
	r, err := commands.NewRegistry(commands.Config{ID: id, RouterChannel: router, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// TestJoinConforms has all pairs share one GoChannel, as they share a broker.
func TestJoinTopics(t *testing.T) {
	t.Parallel()
	g := goChannel(t)
	for name, c := range map[string]struct {
		opts    []pairing.JoinOptions
		out, in string
	}{
		"default": {nil, "leat.root.worker", "leat.worker.root"},
		"prefix":  {[]pairing.JoinOptions{{Prefix: "app1"}}, "app1.root.worker", "app1.worker.root"},
		"own names": {[]pairing.JoinOptions{{Prefix: "ignored", Topic: func(from, to string) string { return from + "_" + to }}},
			"root_worker", "worker_root"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here := pairing.Join(g, g, "root", "worker", c.opts...)
			require.Equal(t, "worker", here.ID)
			require.Equal(t, c.out, here.Out)
			require.Equal(t, c.in, here.In)
			require.False(t, here.Local)
			there := pairing.Join(g, g, "worker", "root", c.opts...)
			require.Equal(t, []string{here.In, here.Out}, []string{there.Out, there.In})
		})
	}
}

func TestJoinInvalidArguments(t *testing.T) {
	t.Parallel()
	g := goChannel(t)
	same := func(string, string) string { return "one" }
	empty := func(string, string) string { return "" }
	for name, ch := range map[string]*bus.Channel{
		"no publisher":        pairing.Join(nil, g, "a", "b"),
		"empty self":          pairing.Join(g, g, "", "b"),
		"empty peer":          pairing.Join(g, g, "a", ""),
		"peer of itself":      pairing.Join(g, g, "a", "a"),
		"two options":         pairing.Join(g, g, "a", "b", pairing.JoinOptions{}, pairing.JoinOptions{}),
		"empty topic":         pairing.Join(g, g, "a", "b", pairing.JoinOptions{Topic: empty}),
		"topics that collide": pairing.Join(g, g, "a", "b", pairing.JoinOptions{Topic: same}),
		"without subscriber":  pairing.Join(g, nil, "a", "a"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := registry(t, "a", "")
			_, err := r.RegisterChannel(t.Context(), ch)
			require.ErrorIs(t, err, bus.ErrInvalidChannel)
			require.Empty(t, r.Channels())
		})
	}
}

func TestJoinInvalidArgumentsSayWhich(t *testing.T) {
	t.Parallel()
	g := goChannel(t)
	_, err := registry(t, "a", "").RegisterChannel(t.Context(), pairing.Join(g, g, "a", "a"))
	require.ErrorContains(t, err, "its own peer")
}

func TestJoinLeavesPubSubToCaller(t *testing.T) {
	t.Parallel()
	g := goChannel(t)
	for range 2 { // the second round works: nothing was closed
		root, worker := registry(t, "root", ""), registry(t, "worker", "root")
		toWorker, err := root.RegisterChannel(t.Context(), pairing.Join(g, g, "root", "worker"))
		require.NoError(t, err)
		toRoot, err := worker.RegisterChannel(t.Context(), pairing.Join(g, g, "worker", "root"))
		require.NoError(t, err)
		<-toRoot.Ready()
		require.NoError(t, toRoot.Close())
		<-toWorker.Done()
		require.ErrorIs(t, toWorker.Err(), bus.ErrPeerClosed)
	}
}

func TestJoinCloseOption(t *testing.T) {
	t.Parallel()
	g := goChannel(t)
	errClose := errors.New("closed by option")
	var closes atomic.Int64
	ch := pairing.Join(g, g, "a", "b", pairing.JoinOptions{Close: func() error {
		closes.Add(1)
		return errClose
	}})
	l, err := registry(t, "a", "").RegisterChannel(t.Context(), ch)
	require.NoError(t, err)
	require.ErrorIs(t, l.Close(), errClose)
	require.NoError(t, l.Close())
	require.EqualValues(t, 1, closes.Load())
}

// TestJoinInsideRouter runs one half inside a message.Router that is there
// already.
func TestJoinInsideRouter(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	g := goChannel(t)
	root, worker := registry(t, "root", ""), registry(t, "worker", "root")
	require.NoError(t, root.RegisterRaw(ctx, bus.Definition{ID: "hello"}, func(_ context.Context, req json.RawMessage) (json.RawMessage, error) {
		return req, nil
	}))
	toWorker := pairing.Join(g, nil, "root", "worker")
	link, err := root.RegisterChannel(ctx, toWorker)
	require.NoError(t, err)
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	require.NoError(t, err)
	router.AddConsumerHandler("from worker", toWorker.In, g, link.Deliver)
	ended := make(chan error, 1)
	go func() { ended <- router.Run(context.WithoutCancel(ctx)) }()
	<-router.Running()
	toRoot, err := worker.RegisterChannel(ctx, pairing.Join(g, g, "worker", "root"))
	require.NoError(t, err)
	<-toRoot.Ready()
	got, err := worker.ExecuteRaw(ctx, "hello", json.RawMessage(`"world"`))
	require.NoError(t, err)
	require.Equal(t, `"world"`, string(got))
	require.NoError(t, worker.Close())
	<-link.Done()
	require.NoError(t, router.Close())
	require.NoError(t, <-ended)
}
