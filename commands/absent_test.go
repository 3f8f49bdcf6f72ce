package commands_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

// TestRule10ARouterThatIsNotThere: a link to another process is open while that is away. What is registered meanwhile is there at
// once, also what a child registers; the router has it when it comes, and not a thousand requests with it.
func TestRule10ARouterThatIsNotThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ps := memory.New(memory.Options{})
		quiet := slog.New(slog.DiscardHandler)
		registry := func(id, router string) *commands.Registry {
			r, err := commands.NewRegistry(commands.Config{ID: id, RouterChannel: router, Logger: quiet})
			require.NoError(t, err)
			return r
		}
		worker, child := registry("worker", "root"), registry("child", "worker")
		join(t, worker, child)
		conn := pairing.Connect(t.Context(), worker, func() (*bus.Channel, error) { return pairing.Join(ps, ps, "worker", "root"), nil })
		synctest.Wait()
		require.NotNil(t, conn.Link())

		began := time.Now()
		const count = 20
		for i := range count {
			handle(t, worker, fmt.Sprintf("w%d", i), `"w"`)
		}
		require.NoError(t, child.RegisterRaw(t.Context(), bus.Definition{ID: "c"}, func(context.Context, json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(`"c"`), nil
		}))
		require.Zero(t, time.Since(began), "nobody is waited for")
		require.Equal(t, `"w"`, executes(t, worker, "w7"))
		require.Equal(t, `"c"`, executes(t, worker, "c"))
		time.Sleep(3 * time.Hour)
		assert.LessOrEqual(t, conn.Link().Stats().Queued, count+2, "each is said once")

		root := registry("root", "")
		back := pairing.Connect(t.Context(), root, func() (*bus.Channel, error) { return pairing.Join(ps, ps, "root", "worker"), nil })
		require.NoError(t, back.Ready(t.Context()))
		time.Sleep(5 * time.Second)
		for i := range count {
			require.Equal(t, `"w"`, executes(t, root, fmt.Sprintf("w%d", i)))
		}
		require.Equal(t, `"c"`, executes(t, root, "c"))
		require.Zero(t, worker.Stats().Unsynced)

		handle(t, root, "taken", `"root"`)
		err := worker.RegisterRaw(t.Context(), bus.Definition{ID: "taken"}, func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil })
		require.ErrorIs(t, err, commands.ErrDuplicateCommand, "it is asked again now that it is there")
		for _, closing := range []interface{ Close() error }{conn, back, worker, child, root, ps} {
			require.NoError(t, closing.Close())
		}
		synctest.Wait()
	})
}
