package scale_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leatbus/leat/bench/internal/scale"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRigsWork(t *testing.T) {
	t.Parallel()
	for _, d := range scale.All() {
		for _, n := range d.Sizes[:2] {
			t.Run(fmt.Sprintf("%s/%d", d.Name, n), func(t *testing.T) {
				t.Parallel()
				rig, err := d.Make(n)
				require.NoError(t, err)
				defer rig.Close()
				for range 10 {
					require.NoError(t, rig.Op(context.Background()))
				}
			})
		}
	}
}

func TestDedupeShrinks(t *testing.T) { // not parallel: it looks at the heap
	synctest.Test(t, func(t *testing.T) {
		part, err := scale.DedupeShrinks(20_000, time.Minute)
		require.NoError(t, err)
		assert.Less(t, part, 0.5)
	})
}

// BenchmarkScaling is all dimensions: BenchmarkScaling/commands/100000 and so on. It reports B/item, and ns/level for depth.
func BenchmarkScaling(b *testing.B) {
	for _, d := range scale.All() {
		for _, n := range d.Sizes {
			b.Run(fmt.Sprintf("%s/%d", d.Name, n), func(b *testing.B) {
				rig, err := d.Make(n)
				require.NoError(b, err)
				defer rig.Close()
				ctx := context.Background()
				b.ReportAllocs()
				for b.Loop() {
					if err := rig.Op(ctx); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(rig.PerItem, "B/item")
				if d.Name == "depth" {
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/level")
				}
			})
		}
	}
}
