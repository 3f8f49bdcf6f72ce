package pairing_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

// connect attaches both halves of a pair and waits until they are ready.
func connect(t testing.TB, a, b *commands.Registry, opts ...pairing.Options) (toB, toA *bus.Link) {
	t.Helper()
	chB, chA := pairing.InMemory(b.ID(), a.ID(), opts...)
	toB, err := a.RegisterChannel(t.Context(), chB)
	require.NoError(t, err)
	toA, err = b.RegisterChannel(t.Context(), chA)
	require.NoError(t, err)
	<-toB.Ready()
	<-toA.Ready()
	return toB, toA
}

func TestInMemoryHalves(t *testing.T) {
	t.Parallel()
	chA, chB := pairing.InMemory("a", "b")
	require.Equal(t, []string{"a", "b"}, []string{chA.ID, chB.ID})
	require.Equal(t, []string{chA.Out, chA.In}, []string{chB.In, chB.Out})
	require.True(t, chA.Local && chB.Local)
	require.True(t, chA.InProcess && chB.InProcess)
	require.NoError(t, chA.Close())
}

func TestInMemorySameNames(t *testing.T) {
	t.Parallel()
	chA, chB := pairing.InMemory("twin", "twin")
	require.NotEqual(t, chA.Out, chA.In)
	a, b := registry(t, "first", ""), registry(t, "second", "twin")
	toB, err := a.RegisterChannel(t.Context(), chA)
	require.NoError(t, err)
	toA, err := b.RegisterChannel(t.Context(), chB)
	require.NoError(t, err)
	<-toB.Ready()
	<-toA.Ready()
}

func TestInMemoryTwoOptionsPanic(t *testing.T) {
	t.Parallel()
	require.PanicsWithValue(t, `pairing: InMemory("a", "b"): 2 options`, func() {
		pairing.InMemory("a", "b", pairing.Options{}, pairing.Options{})
	})
}

// TestInMemoryHalfThatNeverComes closes the one half that was attached: what
// it holds for the other must not hold up the close.
func TestInMemoryHalfThatNeverComes(t *testing.T) {
	t.Parallel()
	chA, chB := pairing.InMemory("a", "b")
	r := registry(t, "b", "a")
	l, err := r.RegisterChannel(t.Context(), chA)
	require.NoError(t, err)
	for range 100 {
		require.NoError(t, r.Events().EmitRaw(t.Context(), "x", nil))
	}
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.Err(), bus.ErrClosed)
	require.EqualValues(t, 101, l.Stats().Unsent, "a hello and 100 events")

	_, err = registry(t, "a", "").RegisterChannel(t.Context(), chB)
	require.ErrorIs(t, err, bus.ErrClosed, "the late half finds the pair closed")
	require.NoError(t, chB.Close())
}

func TestInMemoryGateOpensForTheFirstHalf(t *testing.T) {
	t.Parallel()
	chA, chB := pairing.InMemory("a", "b")
	published := make(chan error, 1)
	go func() { published <- chA.Publisher.Publish(chA.Out, message.NewMessage("1", nil)) }()
	require.Empty(t, published)
	in, err := chB.Subscriber.Subscribe(t.Context(), chB.In)
	require.NoError(t, err)
	m := <-in
	require.Equal(t, "1", m.UUID)
	require.Empty(t, published, "it waits for the ack")
	m.Ack()
	require.NoError(t, <-published)
	require.NoError(t, chA.Close())
	require.NoError(t, chB.Close())
	require.Error(t, chA.Publisher.Publish(chA.Out, message.NewMessage("2", nil)))
}

func TestInMemoryGateOpensForClose(t *testing.T) {
	t.Parallel()
	chA, chB := pairing.InMemory("a", "b")
	published := make(chan error, 1)
	go func() { published <- chA.Publisher.Publish(chA.Out, message.NewMessage("1", nil)) }()
	require.NoError(t, chB.Close())
	require.ErrorIs(t, <-published, bus.ErrClosed)
}

func TestInMemoryCloseEndsBothHalves(t *testing.T) {
	t.Parallel()
	for name, which := range map[string]int{"parent's": 0, "child's": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := registry(t, "a", ""), registry(t, "b", "a")
			toB, toA := connect(t, a, b)
			halves := []*bus.Link{toB, toA}
			require.NoError(t, halves[which].Close())
			<-halves[1-which].Done()
			require.ErrorIs(t, halves[1-which].Err(), bus.ErrPeerClosed)
		})
	}
}

func TestInMemoryHalfIsSingleUse(t *testing.T) {
	t.Parallel()
	chA, chB := pairing.InMemory("a", "b")
	first, second := registry(t, "first", ""), registry(t, "second", "")
	_, err := first.RegisterChannel(t.Context(), chA)
	require.NoError(t, err)
	_, err = second.RegisterChannel(t.Context(), chA)
	require.ErrorIs(t, err, bus.ErrInvalidChannel)
	_, err = second.RegisterChannel(t.Context(), chB)
	require.NoError(t, err, "the other half is free")
}

// ownPubSub counts what goes through a Pub/Sub that the caller brings.
type ownPubSub struct {
	pairing.PubSub
	closed chan struct{}
	err    error
}

func (p *ownPubSub) Close() error {
	close(p.closed) // panics when called twice
	return errors.Join(p.err, p.PubSub.Close())
}

func TestInMemoryOwnPubSubBelongsToThePair(t *testing.T) {
	t.Parallel()
	errClose := errors.New("on purpose")
	p := &ownPubSub{PubSub: goChannel(t), closed: make(chan struct{}), err: errClose}
	a, b := registry(t, "a", ""), registry(t, "b", "a")
	require.NoError(t, a.RegisterRaw(t.Context(), bus.Definition{ID: "echo"}, func(_ context.Context, req json.RawMessage) (json.RawMessage, error) {
		return req, nil
	}))
	toB, toA := connect(t, a, b, pairing.Options{PubSub: p})
	got, err := b.ExecuteRaw(t.Context(), "echo", json.RawMessage("1"))
	require.NoError(t, err)
	require.Equal(t, "1", string(got))
	require.ErrorIs(t, toB.Close(), errClose)
	<-p.closed
	<-toA.Done()
}
