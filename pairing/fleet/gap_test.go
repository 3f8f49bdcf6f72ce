package fleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

// endInbox ends the subscription of a process to its inbox, as a broker does that has lost the connection.
func (m *member) endInbox() { m.line.subs["inbox."+m.fleet.ID()]() }

// TestFleetGap: when the inbox of either side may have lost something, calls that are under way do not wait for their
// deadline; those that may be sent again are; later ones are as they were.
func TestFleetGap(t *testing.T) {
	t.Parallel()
	again := commands.Define[commands.Void, int]("wait.once", "", commands.Options{Idempotent: true})
	for name, of := range map[string]func(caller, server *member) *member{
		"caller": func(caller, _ *member) *member { return caller },
		"server": func(_, server *member) *member { return server },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, 2, fleet.Options{}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
				ran := make(chan *member, 2)
				for _, m := range team {
					require.NoError(t, commands.Register(context.Background(), m.Registry, again, func(ctx context.Context, _ commands.Void) (int, error) {
						if ran <- m; len(ran) == 2 {
							return 42, nil
						}
						<-ctx.Done()
						return 0, ctx.Err()
					}))
				}
				time.Sleep(3 * time.Second) // they have heard of each other
				begun, sticky := time.Now(), commands.WithKey(context.Background(), "one server for all")
				taken, failed := make(chan error, 1), make(chan error, 10)
				go func() {
					n, err := commands.Execute(sticky, caller.Registry, again, commands.Void{})
					if err == nil && n != 42 {
						err = fmt.Errorf("got %d", n)
					}
					taken <- err
				}()
				for range 10 {
					go func() {
						_, err := caller.ExecuteRaw(sticky, "wait", nil)
						failed <- err
					}()
				}
				synctest.Wait()
				server := <-ran
				ran <- server
				of(caller, server).endInbox()
				require.NoError(t, <-taken)
				require.NotSame(t, <-ran, <-ran)
				for range 10 {
					require.ErrorIs(t, <-failed, commands.ErrChannelDisconnected)
				}
				require.Less(t, time.Since(begun), time.Second)
				synctest.Wait()
				require.Zero(t, server.fleet.Stats().Serving, "the handlers are cancelled")
				require.Len(t, caller.fleet.Members(), 2, "nobody has left")
				got, err := caller.ExecuteRaw(sticky, "echo", json.RawMessage("1"))
				require.NoError(t, err)
				require.Equal(t, "1", string(got))
			})
		})
	}
}

// TestFleetBackFirst: who is connected again before the others does not say of their commands that nobody has them; only
// if they do not come back in time.
func TestFleetBackFirst(t *testing.T) {
	t.Parallel()
	bubble(t, 1, fleet.Options{Lease: 3 * time.Second}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
		call := func() error {
			_, err := caller.ExecuteRaw(context.Background(), "echo", nil)
			return err
		}
		outage := func() {
			for _, m := range []*member{caller, team[0]} {
				m.line.set(func() { m.line.cut = true })
			}
			time.Sleep(10 * time.Second)
			require.ErrorIs(t, call(), commands.ErrChannelDisconnected)
			caller.line.set(func() { caller.line.cut = false })
			time.Sleep(1100 * time.Millisecond) // a beat has come back
			require.ErrorIs(t, call(), commands.ErrChannelDisconnected)
		}
		outage()
		team[0].line.set(func() { team[0].line.cut = false })
		time.Sleep(1100 * time.Millisecond)
		require.NoError(t, call())
		outage()
		time.Sleep(3 * time.Second)
		require.ErrorIs(t, call(), commands.ErrNotFound)
		team[0].line.set(func() { team[0].line.cut = false })
	})
}

// TestFleetUnconfirmed: what the broker has taken without saying so is published again for up to a lease, which is longer
// than registries remember events, and arrives once all the same. Calls run once.
func TestFleetUnconfirmed(t *testing.T) {
	t.Parallel()
	bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, team []*member, runs []*atomic.Int64) {
		var heard []string
		_, err := team[0].Events().ListenRaw("e", func(_ context.Context, _ string, p json.RawMessage) { heard = append(heard, string(p)) })
		require.NoError(t, err)
		caller.line.set(func() { caller.line.deaf = true })
		for _, p := range []string{"1", "2", "3"} {
			require.NoError(t, caller.Events().EmitRaw(context.Background(), "e", json.RawMessage(p)))
		}
		result := calling(caller, "echo", 1)
		time.Sleep(5500 * time.Millisecond)
		caller.line.set(func() { caller.line.deaf = false })
		require.NoError(t, (<-result).err)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, []string{"1", "2", "3"}, heard)
		require.EqualValues(t, 1, runs[0].Load())
		require.NotZero(t, team[0].fleet.Stats().Duplicates)
	})
}
