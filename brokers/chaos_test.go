package brokers_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/chaostest"
	"github.com/leatbus/leat/pairing/fleet"
)

// disorder is what at-least-once brokers may do, and more often than they do it.
var disorder = chaostest.Options{Duplicate: 0.2, MaxCopies: 3, Delay: 0.1, Reorder: 0.1, MaxDelay: 5 * time.Millisecond}

// joined are ways to put a worker and a caller on one broker, each with its own publisher.
var joined = map[string]func(t *testing.T, ctx context.Context, b *brokers.Broker, worker, caller *commands.Registry, out func(seed uint64) *chaostest.Publisher){
	"fleet": func(t *testing.T, ctx context.Context, b *brokers.Broker, worker, caller *commands.Registry, out func(uint64) *chaostest.Publisher) {
		join := func(r *commands.Registry, seed uint64) *fleet.Fleet {
			f, err := fleet.New(ctx, out(seed), b.Subscriber(), fleet.Options{Namespace: "chaos", ID: r.ID(), Topic: b.Topic, Logger: silent})
			require.NoError(t, err)
			_, err = r.RegisterChannel(ctx, f.Channel())
			require.NoError(t, err)
			return f
		}
		join(worker, 1)
		require.NoError(t, join(caller, 2).Await(ctx, "count"))
	},
	"pair": func(t *testing.T, ctx context.Context, b *brokers.Broker, worker, caller *commands.Registry, out func(uint64) *chaostest.Publisher) {
		o := pairing.JoinOptions{Topic: func(from, to string) string { return b.Topic("pair." + from + "." + to) }}
		join := func(r *commands.Registry, peer string, seed uint64) *bus.Link {
			l, err := r.RegisterChannel(ctx, pairing.Join(out(seed), b.Subscriber(), r.ID(), peer, o))
			require.NoError(t, err)
			return l
		}
		join(worker, "caller", 1)
		select {
		case <-join(caller, "worker", 2).Ready():
		case <-ctx.Done():
			require.NoError(t, ctx.Err(), "the link is not ready")
		}
	},
}

// Over a broker that delivers twice, late and out of order, each call runs once and is answered, and each
// event is heard once.
func TestDisorder(t *testing.T) {
	t.Parallel()
	for name, join := range joined {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, k kind) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				b := k.open(t)
				var publishers []*chaostest.Publisher
				t.Cleanup(func() { // after the registries, before the broker
					for _, p := range publishers {
						_ = p.Close()
					}
				})
				out := func(seed uint64) *chaostest.Publisher {
					o := disorder
					o.Seed = seed
					p := chaostest.WrapPublisher(b.Publisher(), o)
					publishers = append(publishers, p)
					return p
				}
				worker, caller := registry(t, commands.Config{ID: "worker"}), registry(t, commands.Config{ID: "caller"})
				var mu sync.Mutex
				runs, heard := make(map[int]int), []int(nil)
				count, counted := commands.Define[int, int]("count", ""), events.Define[int]("counted")
				require.NoError(t, commands.Register(ctx, worker, count, func(ctx context.Context, n int) (int, error) {
					mu.Lock()
					runs[n]++
					mu.Unlock()
					return -n, events.Emit(ctx, worker.Events(), counted, n)
				}))
				all := make(chan struct{})
				const calls = 200
				_, err := events.Listen(caller.Events(), counted, func(_ context.Context, n int) {
					mu.Lock()
					defer mu.Unlock()
					if heard = append(heard, n); len(heard) == calls {
						close(all)
					}
				})
				require.NoError(t, err)
				join(t, ctx, b, worker, caller, out)

				var callers sync.WaitGroup
				for i := range 8 {
					callers.Go(func() {
						for n := i; n < calls; n += 8 {
							got, err := commands.Execute(ctx, caller, count, n)
							if err != nil || got != -n {
								t.Errorf("call %d: %d, %v", n, got, err)
							}
						}
					})
				}
				callers.Wait()
				select {
				case <-all:
				case <-ctx.Done():
					t.Error("events are missing")
				}
				for _, p := range publishers { // what is still held arrives, and changes nothing
					require.NoError(t, p.Flush(ctx))
					require.NotZero(t, p.Stats().Copied)
					require.NotZero(t, p.Stats().Reordered)
				}
				require.NoError(t, worker.Events().Flush(ctx))
				require.NoError(t, caller.Events().Flush(ctx))
				mu.Lock()
				defer mu.Unlock()
				slices.Sort(heard)
				for n := range calls {
					require.Equalf(t, 1, runs[n], "runs of call %d", n)
				}
				require.Len(t, slices.Compact(heard), calls)
				require.Len(t, heard, calls)
			})
		})
	}
}
