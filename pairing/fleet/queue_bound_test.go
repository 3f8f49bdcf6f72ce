package fleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

// TestRule24QueuesOfAProcessAreBounded: also if each command is withdrawn before the next one comes, since the broker keeps the queue;
// and a command that has had its queue can come again.
func TestRule24QueuesOfAProcessAreBounded(t *testing.T) {
	t.Parallel()
	const bound = 3
	d := newDepot()
	gateway := d.site(t, "gateway", siteOptions{config: commands.Config{RouterChannel: "fleet"},
		fleet: func(o *fleet.Options) { o.MaxQueues = bound }})
	none := func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil }
	register := func(i int) error {
		return gateway.RegisterRaw(t.Context(), bus.Definition{ID: "job." + strconv.Itoa(i), Durable: true}, none)
	}
	for i := range bound {
		require.NoError(t, register(i))
		require.True(t, gateway.Unregister("job."+strconv.Itoa(i)))
	}
	require.ErrorIs(t, register(bound), commands.ErrInvalidRequest)
	require.NoError(t, register(0))
}

// TestRule24DurableCommandsOfOthersAreBounded: those that no process serves any more make room.
func TestRule24DurableCommandsOfOthersAreBounded(t *testing.T) {
	t.Parallel()
	const bound = 4096
	bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, _ []*member, _ []*atomic.Int64) {
		worker := sessionOf(t, caller, "worker-0")
		version := 3
		change := func(body string) {
			version++
			say(t, caller, "discovery", forge("worker-0", worker, "change", body, "version", strconv.Itoa(version)))
		}
		for i := range bound + 100 {
			id := fmt.Sprintf("%q", "d"+strconv.Itoa(i))
			change(`{"add":[{"id":` + id + `}],"durable":[` + id + `]}`)
			if i >= 100 {
				change(`{"remove":[` + id + `]}`)
			}
		}
		synctest.Wait()
		s := caller.fleet.Stats()
		require.LessOrEqual(t, s.Commands, bound+2)
		require.Zero(t, s.Refused)
	})
}
