package bus_test

import (
	"context"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
)

// early is a subscriber that calls before it returns; meanwhile who subscribes changes his mind.
type early struct {
	message.Subscriber
	change func()
	ended  chan struct{}
}

func (e *early) SubscribeFunc(_ context.Context, _ string, fn func(*message.Message)) (<-chan struct{}, error) {
	go func() {
		defer close(e.ended)
		fn(message.NewMessage("1", nil))
	}()
	e.change()
	return e.ended, nil
}

// TestAttachLeavesNobodyWaiting: who calls with a message of a link that is not attached in the end gets away.
func TestAttachLeavesNobodyWaiting(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	sub := &early{change: cancel, ended: make(chan struct{})}
	_, err := bus.New(bus.Options{ID: "a"}).Attach(ctx, &bus.Channel{ID: "b", Publisher: nowhere{}, Out: "out", Subscriber: sub, In: "in"})
	require.ErrorIs(t, err, context.Canceled)
	<-sub.ended
}

// nowhere is a publisher that loses all.
type nowhere struct{}

func (nowhere) Publish(string, ...*message.Message) error { return nil }
func (nowhere) Close() error                              { return nil }
