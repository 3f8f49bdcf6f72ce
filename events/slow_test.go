package events_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/events"
)

// tap is the publisher of a link whose peer takes each message after a pause, or none while it is shut.
type tap struct {
	pause time.Duration
	shut  chan struct{} // closed: open again; nil: it is open
	taken atomic.Int64
}

func (p *tap) Publish(_ string, ms ...*message.Message) error {
	for _, m := range ms {
		if m.Metadata["leat-type"] != string(bus.Event) {
			continue
		}
		if p.shut != nil {
			<-p.shut
		}
		time.Sleep(p.pause)
		p.taken.Add(1)
	}
	return nil
}

func (*tap) Close() error { return nil }

// tapped attaches a link with that publisher, whose peer has answered the handshake.
func tapped(t *testing.T, b *bus.Bus, id string, p *tap) *bus.Link {
	l, err := b.Attach(t.Context(), &bus.Channel{ID: id, Publisher: p, Out: "out"})
	require.NoError(t, err)
	m, err := bus.Binary.Marshal(bus.Envelope{ID: "1", Type: bus.ListResponse, Thread: "?", Body: []byte("[]")})
	require.NoError(t, err)
	require.NoError(t, l.Deliver(m))
	synctest.Wait()
	return l
}

func TestRule25LinksWhosePublishHangsHoldUpEmittersForABoundedTimeInAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const bound, n = 8, 1000
		h, b := newHub(t, bus.Options{QueueSize: bound, StallTimeout: time.Hour})
		shut := make(chan struct{})
		var hung []*bus.Link
		for i := range 10 {
			hung = append(hung, tapped(t, b, fmt.Sprint("hung", i), &tap{shut: shut}))
		}
		good := new(tap)
		tapped(t, b, "good", good)
		local := record(t, h, ">")

		began := time.Now()
		for range n {
			require.NoError(t, h.EmitRaw(context.Background(), "e", nil))
			synctest.Wait() // the good one keeps up
		}
		require.Equal(t, 5*time.Second, time.Since(began), "EmitTimeout, once, however many events and links")
		require.Len(t, local.all(), n, "the listeners here get everything")
		require.EqualValues(t, n, good.taken.Load(), "and so do the other links")
		for _, l := range hung {
			require.EqualValues(t, 1, l.Stats().Slow)
			require.EqualValues(t, n-bound, l.Stats().Dropped)
		}
		require.EqualValues(t, 10*(n-bound), h.Stats().Dropped)

		close(shut)
		synctest.Wait()
		began = time.Now()
		for range n {
			require.NoError(t, h.EmitRaw(context.Background(), "e", nil))
			synctest.Wait()
		}
		require.Zero(t, time.Since(began))
		for _, l := range hung {
			require.EqualValues(t, n-bound, l.Stats().Dropped, "a link that has room again gets everything again")
		}
	})
}

func TestRule25ALinkThatTakesNothingIsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, b := newHub(t, bus.Options{StallTimeout: 8 * time.Second, CloseTimeout: time.Second})
		shut := make(chan struct{})
		defer close(shut)
		time.Sleep(time.Minute) // an idle link is no stalled one
		l := tapped(t, b, "hung", &tap{shut: shut})
		time.Sleep(time.Minute)
		began := time.Now()
		require.NoError(t, h.EmitRaw(t.Context(), "e", nil))
		<-l.Context().Done()
		require.Equal(t, 8*time.Second, time.Since(began))
		<-l.Done()
		require.ErrorIs(t, l.Err(), bus.ErrPeerClosed)
		require.ErrorContains(t, l.Err(), "took nothing for 8s")
		require.EqualValues(t, 1, b.Stats().Stalled)
		require.Empty(t, b.Links())
	})
}

func TestRule23ALinkThatIsSlowPacesItsEmittersAndLosesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const bound, n, pause = 64, 2000, 20 * time.Millisecond
		h, b := newHub(t, bus.Options{QueueSize: bound, StallTimeout: time.Second})
		p := &tap{pause: pause}
		l := tapped(t, b, "slow", p)
		began := time.Now()
		for range n {
			before := time.Now()
			require.NoError(t, h.EmitRaw(context.Background(), "e", nil))
			require.Less(t, time.Since(before), 2*bound*pause/2, "nobody waits for longer than half of the queue takes")
		}
		require.InDelta(t, n*pause, time.Since(began), float64((bound+1)*pause))
		time.Sleep((bound + 1) * pause)
		require.EqualValues(t, n, p.taken.Load())
		require.Zero(t, l.Stats().Dropped+l.Stats().Slow+l.Stats().Unsent)
		require.NoError(t, l.Err())
	})
}

func TestRule25ALinkThatTrickles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const bound, n = 1024, 10_000
		h, b := newHub(t, bus.Options{QueueSize: bound})
		l := tapped(t, b, "trickle", &tap{pause: time.Second})
		began := time.Now()
		for range n {
			require.NoError(t, h.EmitRaw(context.Background(), "e", nil))
		}
		require.LessOrEqual(t, time.Since(began), 5*time.Second)
		require.EqualValues(t, 1, l.Stats().Slow)
		require.Positive(t, l.Stats().Dropped)
	})
}

func TestRule25TheCtxOfAnEmitterEndsItsWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, b := newHub(t, bus.Options{QueueSize: 2, StallTimeout: time.Hour})
		shut := make(chan struct{})
		defer close(shut)
		tapped(t, b, "hung", &tap{shut: shut})
		local := record(t, h, ">", events.ListenOptions{})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var err error
		for err == nil {
			err = h.EmitRaw(ctx, "e", nil)
		}
		require.ErrorIs(t, err, context.DeadlineExceeded)
		synctest.Wait()
		require.Len(t, local.all(), 2, "nobody gets an event that was given up")
	})
}
