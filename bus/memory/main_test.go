package memory_test

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leatbus/leat/bus/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble runs f with a PubSub in fake time, and closes it afterwards.
func bubble(t *testing.T, opts memory.Options, f func(t *testing.T, ps *memory.PubSub)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ps := memory.New(opts)
		defer func() { require.NoError(t, ps.Close()) }()
		f(t, ps)
	})
}

// numbered returns n messages with UUIDs "0", "1" and so on.
func numbered(n int) []*message.Message {
	msgs := make([]*message.Message, n)
	for i := range msgs {
		msgs[i] = message.NewMessage(strconv.Itoa(i), nil)
	}
	return msgs
}

// ready receives what is in msgs once all goroutines of the bubble are idle.
func ready(msgs <-chan *message.Message) (got []*message.Message) {
	synctest.Wait()
	for {
		select {
		case msg, ok := <-msgs:
			if !ok {
				return got
			}
			got = append(got, msg)
			synctest.Wait()
		default:
			return got
		}
	}
}

func uuids(msgs []*message.Message) (ids []string) {
	for _, msg := range msgs {
		ids = append(ids, msg.UUID)
	}
	return ids
}

func requireClosed(t *testing.T, msgs <-chan *message.Message) {
	t.Helper()
	msg, open := <-msgs
	require.False(t, open, "the channel holds %v instead of being closed", msg)
}

// started runs f on a goroutine and returns once that is done or blocked.
func started(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	synctest.Wait()
	return done
}

// requireBlocked fails if what started began has ended.
func requireBlocked(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		require.Fail(t, "did not block", "returned %v", err)
	default:
	}
}

func withContext(ctx context.Context, id string) *message.Message {
	return message.NewMessageWithContext(ctx, id, nil)
}
