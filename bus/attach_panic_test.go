package bus_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
)

// panickySubscriber panics until it is mended.
type panickySubscriber struct{ mended bool }

func (s *panickySubscriber) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	if !s.mended {
		panic("no subscription today")
	}
	in := make(chan *message.Message)
	context.AfterFunc(ctx, func() { close(in) })
	return in, nil
}

func (*panickySubscriber) Publish(string, ...*message.Message) error { return nil }
func (*panickySubscriber) Close() error                              { return nil }

func TestRule17ASubscribeThatPanicsLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b := bus.New(bus.Options{Logger: slog.New(slog.DiscardHandler)})
	defer b.Close()
	s := &panickySubscriber{}
	ch := &bus.Channel{ID: "peer", Publisher: s, Out: "out", Subscriber: s, In: "in"}
	_, err := b.Attach(context.Background(), ch)
	require.ErrorContains(t, err, "no subscription today")
	s.mended = true
	l, err := b.Attach(context.Background(), ch)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}
