package brokers_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

// TestDurableRequestsRunOnce: a request is out only when a worker has it, and a handler that takes longer than AckWait keeps it. So
// neither what waits nor what takes long runs twice.
func TestDurableRequestsRunOnce(t *testing.T) {
	t.Parallel()
	for name, load := range map[string]struct {
		workers, requests int
		takes             time.Duration
	}{
		"quick, more than AckWait in all": {2, 20, 250 * time.Millisecond},
		"slow, more than AckWait each":    {1, 4, 2500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachDurable(t, func(t *testing.T, k kind) {
				b := k.open(t, brokers.Options{AckWait: time.Second})
				r, f := caller(t, b)
				var runs atomic.Int64
				worker := serveJob(t, b, "worker", load.workers, func(_ context.Context, n task) (string, error) {
					runs.Add(1)
					timer := time.NewTimer(load.takes)
					defer timer.Stop()
					<-timer.C
					return fmt.Sprint(n.N), nil
				})
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				require.NoError(t, f.Await(ctx, "job.run"))
				var calls sync.WaitGroup
				for i := range load.requests {
					calls.Go(func() {
						got, err := commands.Execute(ctx, r, run, task{N: i})
						assert.NoError(t, err)
						assert.Equal(t, fmt.Sprint(i), got)
					})
				}
				calls.Wait()
				assert.EqualValues(t, load.requests, runs.Load())
				assert.EqualValues(t, load.requests, worker.Stats().Taken, "none was delivered twice")
			})
		})
	}
}

// serveJob is a worker in this process.
func serveJob(t *testing.T, b *brokers.Broker, id string, workers int, h func(context.Context, task) (string, error)) *fleet.Fleet {
	t.Helper()
	r := registry(t, commands.Config{ID: id})
	require.NoError(t, commands.Register(t.Context(), r, run, h))
	o := jobFleet(id)
	o.DurableWorkers = workers
	f, err := b.Fleet(t.Context(), o)
	require.NoError(t, err)
	_, err = r.RegisterChannel(t.Context(), f.Channel())
	require.NoError(t, err)
	return f
}

// TestMessageOfADeadConsumerComesWithinAckWait: one that cannot say any more that it is at it has died.
func TestMessageOfADeadConsumerComesWithinAckWait(t *testing.T) {
	t.Parallel()
	eachDurable(t, func(t *testing.T, k kind) {
		const wait = 2 * time.Second
		b, direct, cable := cabled(t, k, brokers.Options{AckWait: wait})
		dies, _ := queue(t, b, "g", "work")
		publish(t, direct, "work", "x")()
		recv(t, dies)
		other, _ := queue(t, direct, "g", "work")
		kept := time.NewTimer(3 * wait)
		defer kept.Stop()
		select {
		case m := <-other:
			require.Fail(t, "it was taken from a consumer that lives", "%s", m.Payload)
		case <-kept.C:
		}
		died := time.Now()
		cable.setCut(true)
		require.Equal(t, "x", take(t, other))
		assert.Less(t, time.Since(died), wait+2*time.Second)
	})
}
