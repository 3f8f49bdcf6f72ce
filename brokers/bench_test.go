package brokers_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing/fleet"
)

// BenchmarkRoundTrip publishes one message and waits until it is back.
func BenchmarkRoundTrip(b *testing.B) {
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			broker := k.open(b)
			topic := broker.Topic("bench")
			in, err := broker.Subscriber().Subscribe(b.Context(), topic)
			require.NoError(b, err)
			payload := []byte(`{"a":1,"b":2}`)
			for b.Loop() {
				m := message.NewMessage(uuid.NewString(), payload)
				m.Metadata.Set("leat-type", "event")
				got := make(chan error, 1)
				go func() { got <- broker.Publisher().Publish(topic, m) }()
				(<-in).Ack()
				require.NoError(b, <-got)
			}
		})
	}
}

// BenchmarkFleetEvents emits events in one process of a fleet until another one has all of them, in order. The emitter is at most
// eventsAhead before it.
func BenchmarkFleetEvents(b *testing.B) {
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			url, ns := k.url(b), namespace()
			if k.purge != nil {
				b.Cleanup(func() { k.purge(b, url, ns) })
			}
			var processes [2]*commands.Registry
			var shared *brokers.Broker
			for i := range processes {
				if shared == nil || url != "memory://" && url != "gochannel://" { // each Open of those is for itself
					shared = k.openAt(b, url, brokers.Options{Namespace: ns})
				}
				r, f := process(b, shared, fleet.Options{ID: fmt.Sprint("process-", i), Namespace: ns})
				require.NoError(b, f.Ready(b.Context()))
				processes[i] = r
			}
			tick, next := events.Define[int]("tick"), make(chan int, 1<<16)
			_, err := events.Listen(processes[1].Events(), tick, func(_ context.Context, n int) { next <- n })
			require.NoError(b, err)
			for n := -1; len(next) == 0; n-- { // until the listener is known
				require.NoError(b, events.Emit(b.Context(), processes[0].Events(), tick, n))
				require.NoError(b, processes[0].Events().Flush(b.Context()))
			}
			var before, after syscall.Rusage
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
			b.ResetTimer()
			for emitted, want := 0, 0; want < b.N; {
				if emitted < b.N && emitted < want+eventsAhead {
					require.NoError(b, events.Emit(b.Context(), processes[0].Events(), tick, emitted))
					emitted++
					continue
				}
				if n := <-next; n >= 0 {
					require.Equal(b, want, n)
					want++
				}
			}
			b.StopTimer()
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano())/1e3/float64(b.N), "cpu-µs/event")
		})
	}
}

const eventsAhead = 4096
