package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/commands"
)

func TestTenThousandCallsWithRandomCancellationLeaveNothing(t *testing.T) {
	root, worker := newRegistry(t, commands.Config{ID: "root"}), newRegistry(t, commands.Config{ID: "worker", RouterChannel: "root"})
	handleFunc(t, worker, "work", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		for range rand.IntN(50) {
			runtime.Gosched()
		}
		return json.RawMessage(`1`), ctx.Err()
	})
	join(t, root, worker)
	var wg sync.WaitGroup
	var served, left atomic.Int64
	for range 10_000 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if rand.IntN(2) == 0 {
				stop := time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, cancel)
				defer stop.Stop()
			}
			switch _, err := root.ExecuteRaw(ctx, "work", nil); {
			case err == nil:
				served.Add(1)
			case errors.Is(err, context.Canceled):
				left.Add(1)
			default:
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 10_000, served.Load()+left.Load())
	require.NoError(t, root.Shutdown(within(t)))
	require.NoError(t, worker.Shutdown(within(t)))
	for _, r := range []*commands.Registry{root, worker} {
		s := r.Stats()
		assert.Zero(t, s.Pending+s.Serving+s.Waiting, "%+v", s)
	}
}
