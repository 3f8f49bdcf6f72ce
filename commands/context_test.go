package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

// The handler's context is made to order: it must behave like any other.
func TestTheHandlersContextBehavesLikeAnyOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		root, worker := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "worker", RouterChannel: "root"})
		type key struct{}
		check := map[string]func(ctx context.Context){
			"deadline": func(ctx context.Context) {
				at, ok := ctx.Deadline()
				assert.True(t, ok)
				assert.Equal(t, 5*time.Second, time.Until(at))
				require.NoError(t, ctx.Err())
				<-ctx.Done()
				assert.Equal(t, context.DeadlineExceeded, ctx.Err())
				assert.Zero(t, time.Until(at))
			},
			"err without done": func(ctx context.Context) {
				time.Sleep(5 * time.Second)
				assert.Equal(t, context.DeadlineExceeded, ctx.Err())
				<-ctx.Done()
			},
			"child": func(ctx context.Context) {
				child, cancel := context.WithCancel(context.WithValue(ctx, key{}, 1))
				defer cancel()
				after := make(chan struct{})
				context.AfterFunc(ctx, func() { close(after) })
				stop := context.AfterFunc(ctx, func() { t.Error("stopped, and ran") })
				assert.True(t, stop())
				assert.False(t, stop())
				<-child.Done()
				<-after
				assert.Equal(t, context.DeadlineExceeded, child.Err())
				assert.Equal(t, 1, child.Value(key{}))
				context.AfterFunc(ctx, func() {})
			},
		}
		handleFunc(t, worker, "check", func(ctx context.Context, name json.RawMessage) (json.RawMessage, error) {
			var s string
			_ = json.Unmarshal(name, &s)
			check[s](ctx)
			return nil, ctx.Err()
		})
		kept := make(chan context.Context, 1)
		handleFunc(t, worker, "keep", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) { kept <- ctx; return nil, nil })
		join(t, root, worker)
		for name := range check {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			data, _ := json.Marshal(name)
			_, err := root.ExecuteRaw(ctx, "check", data)
			require.ErrorIs(t, err, commands.ErrTimeout)
			cancel()
			synctest.Wait()
		}
		executes(t, root, "keep")
		synctest.Wait()
		ctx := <-kept
		<-ctx.Done()
		assert.Equal(t, context.Canceled, ctx.Err(), "it ends with the run")
		require.NoError(t, worker.Close())
	})
}

func TestMetadataTravelsWithRequestsAndEventsAndNestedCalls(t *testing.T) {
	t.Parallel()
	leaf, rs := chainOf(t, 3)
	seen := make(chan message.Metadata, 2)
	handleFunc(t, leaf, "x", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		seen <- bus.MetadataFrom(ctx)
		return nil, leaf.Events().EmitRaw(bus.WithMetadata(ctx, message.Metadata{"more": "1"}), "e", nil)
	})
	_, err := rs[0].Events().ListenRaw("e", func(ctx context.Context, _ string, _ json.RawMessage) { seen <- bus.MetadataFrom(ctx) })
	require.NoError(t, err)
	settle(t, rs...)
	ctx := bus.WithMetadata(within(t), message.Metadata{"traceparent": "00-1-2-01", "leat-id": "mine"})
	_, err = rs[0].ExecuteRaw(ctx, "x", nil)
	require.NoError(t, err)
	assert.Equal(t, message.Metadata{"traceparent": "00-1-2-01"}, await(t, seen))
	assert.Equal(t, message.Metadata{"traceparent": "00-1-2-01", "more": "1"}, await(t, seen))
}

// stuckPublisher takes nothing more once it is told so, until it is closed.
type stuckPublisher struct {
	message.Publisher
	stuck, closed chan struct{}
}

func (p *stuckPublisher) Publish(topic string, msgs ...*message.Message) error {
	select {
	case <-p.stuck:
		<-p.closed
		return errors.New("closed")
	default:
		return p.Publisher.Publish(topic, msgs...)
	}
}

func TestAPeerThatTakesNoAnswersLosesItsLink(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{QueueSize: 4, CloseTimeout: 50 * time.Millisecond, StallTimeout: 100 * time.Millisecond})
	handle(t, r, "x", "1")
	s := &stranger{t: t, sent: make(chan bus.Envelope, 4096), in: make(chan *message.Message), end: make(chan struct{})}
	p := &stuckPublisher{Publisher: s, stuck: make(chan struct{}), closed: make(chan struct{})}
	s.Link = attach(t, r, &bus.Channel{ID: "peer", Publisher: p, Out: "o", Subscriber: s, In: "i",
		Close: func() error { close(p.closed); return nil }, Closing: func() {}})
	s.wants(bus.ListRequest)
	close(p.stuck)
	for range 32 {
		s.say(bus.Envelope{ID: bus.NewID(), Type: bus.ExecuteRequest, Name: "x"})
	}
	await(t, s.Link.Done())
	require.ErrorIs(t, s.Link.Err(), bus.ErrPeerClosed)
	assert.EqualValues(t, 1, r.Stats().Bus.Stalled)
	assert.Positive(t, s.Link.Stats().Unsent)
}

func TestEventsForAFullLinkAreDroppedAndCounted(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{QueueSize: 4})
	toPeer, _ := pairing.InMemory("peer", "r") // whose other half never comes
	l := attach(t, r, toPeer)
	for range 20 {
		require.NoError(t, r.Events().EmitRaw(within(t), "e", nil), "nobody waits for one who may never come")
	}
	assert.Positive(t, l.Stats().Dropped)
	assert.Equal(t, l.Stats().Dropped, r.Events().Stats().Dropped)
	require.NoError(t, l.Close())
	assert.EqualValues(t, 20, l.Stats().Dropped+l.Stats().Unsent-1, "all but the handshake are accounted for")
}

func TestFlushTrustsThePublisherOfAPeerThatCannotAnswer(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{})
	p := meet(t, r, "foreign", 0)
	p.say(bus.Envelope{ID: "1", Type: bus.ListResponse, Thread: "?", Body: json.RawMessage(`[]`)})
	await(t, p.Link.Ready())
	for range 10 {
		require.NoError(t, r.Events().EmitRaw(within(t), "e", nil))
	}
	require.NoError(t, r.Events().Flush(within(t)))
	assert.Len(t, p.sent, 10)
}
