package crews_test

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bench/internal/crews"
)

// BenchmarkCall is for profiles: -bench Call/nats-fleet -cpuprofile cpu.prof. LEAT_TEST_NATS names a server; else one in this
// process is started.
func BenchmarkCall(b *testing.B) {
	for _, k := range crews.Of("nats://") {
		for _, callers := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/%d", k.Name, callers), func(b *testing.B) {
				url := os.Getenv("LEAT_TEST_NATS")
				if url == "" {
					url = startNATS(b)
				}
				c, err := k.Start(b.Context(), url, 1)
				require.NoError(b, err)
				defer func() { require.NoError(b, c.Close()) }()
				b.ReportAllocs()
				b.ResetTimer()
				var left atomic.Int64
				left.Store(int64(b.N))
				var all sync.WaitGroup
				for range callers {
					all.Go(func() {
						for left.Add(-1) >= 0 {
							if err := c.Call(b.Context()); err != nil {
								b.Error(err)
							}
						}
					})
				}
				all.Wait()
				b.StopTimer()
			})
		}
	}
}
