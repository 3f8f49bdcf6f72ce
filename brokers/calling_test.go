package brokers

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
)

// unflushed is a backend that calls, and whose flush fails when a message has come.
type unflushed struct {
	backend
	called chan struct{}
}

var errFlush = errors.New("flush")

func (*unflushed) naming() naming { return plainNames }

func (u *unflushed) flush(context.Context) error {
	<-u.called
	return errFlush
}

func (u *unflushed) subscribeFunc(_ string, fn func(*message.Message)) (stop func(), ended <-chan struct{}, err error) {
	done := make(chan struct{})
	go func() {
		close(u.called)
		fn(message.NewMessage("1", nil))
		close(done)
	}()
	return func() {}, done, nil
}

// TestSubscribeFuncThatFails: who waits with a message until SubscribeFunc has returned, as links do, does not keep it from
// that; and nobody is called by what has failed.
func TestSubscribeFuncThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, err := Options{}.withDefaults()
		require.NoError(t, err)
		b := newBroker(o)
		b.backend = &unflushed{called: make(chan struct{})}
		returned, calls := make(chan struct{}), 0
		_, err = subscriber{b: b}.SubscribeFunc(t.Context(), "topic", func(*message.Message) { calls++; <-returned })
		close(returned)
		require.ErrorIs(t, err, errFlush)
		synctest.Wait()
		require.Zero(t, calls)
		require.Zero(t, b.running)
	})
}
