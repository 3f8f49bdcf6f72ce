package crews_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bench/internal/crews"
)

// BenchmarkCall is for profiles: -bench Call/nats-fleet -cpuprofile cpu.prof.
func BenchmarkCall(b *testing.B) {
	for _, k := range crews.Of("nats://") {
		b.Run(k.Name, func(b *testing.B) {
			c, err := k.Start(b.Context(), startNATS(b), 1)
			require.NoError(b, err)
			defer func() { require.NoError(b, c.Close()) }()
			b.SetParallelism(16)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := c.Call(b.Context()); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
