package fleet_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

// TestFleetLeasesDiffer: a process is gone when its own lease has lapsed, however long the others' are: one that says seldom that
// it is there is not dropped between two beats, and one that says it often is missed soon.
func TestFleetLeasesDiffer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const short, long = 3 * time.Second, 30 * time.Second
		ps := memory.New(memory.Options{})
		hasty := join(t, ps, "hasty", fleet.Options{Lease: short})
		slow := join(t, ps, "slow", fleet.Options{Lease: long})
		for _, m := range []*member{hasty, slow} {
			serve(t, m, m.ID()+".wait", waits)
		}
		require.NoError(t, hasty.fleet.Await(t.Context(), "slow.wait"))
		require.NoError(t, slow.fleet.Await(t.Context(), "hasty.wait"))

		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := commands.Execute(ctx, hasty.Registry, commands.Define[commands.Void, int]("slow.wait", "", commands.Options{TTL: time.Hour}), commands.Void{})
			left <- err
		}()
		for range 200 {
			time.Sleep(time.Second)
			require.Len(t, hasty.fleet.Members(), 1)
			require.Len(t, slow.fleet.Members(), 1)
		}
		require.Empty(t, left, "a call has ended though its process is there")
		require.Zero(t, hasty.fleet.Stats().Lost+slow.fleet.Stats().Lost)

		slow.line.set(func() { slow.line.cut = true })
		silent := time.Now()
		require.ErrorIs(t, <-left, commands.ErrChannelDisconnected)
		require.GreaterOrEqual(t, time.Since(silent), long*2/3)
		require.LessOrEqual(t, time.Since(silent), long+long/3)
		slow.line.set(func() { slow.line.cut = false })
		for len(slow.fleet.Members())+len(hasty.fleet.Members()) < 2 {
			time.Sleep(100 * time.Millisecond)
		}
		hasty.line.set(func() { hasty.line.mute = true })
		silent = time.Now()
		for len(slow.fleet.Members()) > 0 {
			time.Sleep(100 * time.Millisecond)
			require.LessOrEqual(t, time.Since(silent), short+long/3)
		}
		cancel()
		hasty.end(t)
		slow.end(t)
		require.NoError(t, ps.Close())
		synctest.Wait()
	})
}

func waits(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
