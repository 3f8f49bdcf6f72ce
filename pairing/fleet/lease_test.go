package fleet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

// bubble is a fleet on a fake clock: a caller, and workers that serve "wait", which runs until its ctx ends, and
// "echo".
func bubble(t *testing.T, workers int, o fleet.Options, run func(t *testing.T, caller *member, team []*member, runs []*atomic.Int64)) {
	synctest.Test(t, func(t *testing.T) {
		ps := memory.New(memory.Options{})
		caller := join(t, ps, "caller", o)
		var team []*member
		var runs []*atomic.Int64
		for i := range workers {
			w, ran := join(t, ps, "worker-"+strconv.Itoa(i), o), new(atomic.Int64)
			serve(t, w, "wait", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
				ran.Add(1)
				<-ctx.Done()
				return nil, ctx.Err()
			})
			serve(t, w, "echo", func(_ context.Context, req json.RawMessage) (json.RawMessage, error) {
				ran.Add(1)
				return req, nil
			})
			team, runs = append(team, w), append(runs, ran)
		}
		synctest.Wait()
		run(t, caller, team, runs)
		for _, m := range append(team, caller) {
			m.end(t)
		}
		require.NoError(t, ps.Close())
		synctest.Wait()
	})
}

func serve(t testing.TB, m *member, id string, h commands.RawHandler) {
	t.Helper()
	require.NoError(t, m.RegisterRaw(context.Background(), bus.Definition{ID: id}, h))
}

type ended struct {
	after time.Duration
	err   error
}

// calling makes calls in the background.
func calling(m *member, id string, count int) <-chan ended {
	results := make(chan ended, count)
	begun := time.Now()
	for range count {
		go func() {
			_, err := m.ExecuteRaw(context.Background(), id, nil)
			results <- ended{time.Since(begun), err}
		}()
	}
	return results
}

// TestFleetLease: what waits on a process that goes silent fails when its lease has lapsed, not earlier and not much
// later, and nothing else does.
func TestFleetLease(t *testing.T) {
	t.Parallel()
	bubble(t, 3, fleet.Options{}, func(t *testing.T, caller *member, team []*member, runs []*atomic.Int64) {
		const lease = 6 * time.Second
		results := calling(caller, "wait", 60)
		synctest.Wait()
		doomed := int(runs[1].Load())
		require.Greater(t, doomed, 5)
		silent := time.Now()
		team[1].line.set(func() { team[1].line.cut = true })
		for range doomed {
			got := <-results
			require.ErrorIs(t, got.err, commands.ErrChannelDisconnected)
			require.GreaterOrEqual(t, time.Since(silent), lease*2/3)
			require.LessOrEqual(t, time.Since(silent), lease+lease/3)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Empty(t, results, "a call that waits on another process has ended")
		require.Len(t, caller.fleet.Members(), 2)
		require.EqualValues(t, doomed, caller.fleet.Stats().Lost)
	})
}

// TestFleetTwoAtOnce: of three processes two vanish at once, and idempotent calls go to the third.
func TestFleetTwoAtOnce(t *testing.T) {
	t.Parallel()
	bubble(t, 3, fleet.Options{}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
		again := commands.Define[commands.Void, int]("again", "", commands.Options{Idempotent: true})
		release := make(chan struct{}) // the third is as busy as the others
		for i, m := range team {
			require.NoError(t, commands.Register(context.Background(), m.Registry, again, func(ctx context.Context, _ commands.Void) (int, error) {
				if i < 2 {
					<-ctx.Done()
				} else {
					<-release
				}
				return i, ctx.Err()
			}))
		}
		synctest.Wait()
		results := make(chan error, 60)
		for range 60 {
			go func() {
				got, err := commands.Execute(context.Background(), caller.Registry, again, commands.Void{})
				if err == nil && got != 2 {
					err = fmt.Errorf("executed by %d", got)
				}
				results <- err
			}()
		}
		synctest.Wait()
		for _, m := range team[:2] {
			m.line.set(func() { m.line.cut = true })
		}
		time.Sleep(10 * time.Second)
		close(release)
		for range 60 {
			require.NoError(t, <-results)
		}
		require.NotZero(t, caller.fleet.Stats().Rerouted)
	})
}

// TestFleetEarlyEvents: what is emitted before the fleet is ready arrives.
func TestFleetEarlyEvents(t *testing.T) {
	t.Parallel()
	bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, _ []*member, _ []*atomic.Int64) {
		heard := make(chan string, 10)
		_, err := caller.Events().ListenRaw("e", func(_ context.Context, _ string, p json.RawMessage) { heard <- string(p) })
		require.NoError(t, err)
		late := prepare(t, caller.line.PubSub, "late", fleet.Options{})
		late.line.set(func() { late.line.down = true })
		_, err = late.RegisterChannel(context.Background(), late.fleet.Channel())
		require.NoError(t, err)
		for i := range 5 {
			require.NoError(t, late.Events().EmitRaw(context.Background(), "e", json.RawMessage(strconv.Itoa(i))))
		}
		time.Sleep(time.Second)
		require.Empty(t, heard)
		late.line.set(func() { late.line.down = false })
		require.NoError(t, late.fleet.Ready(context.Background()))
		for i := range 5 {
			require.Equal(t, strconv.Itoa(i), <-heard)
		}
		late.end(t)
	})
}

// TestFleetIdle: nobody is lost by saying nothing but that he is there.
func TestFleetIdle(t *testing.T) {
	t.Parallel()
	bubble(t, 4, fleet.Options{Lease: time.Second}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
		before := caller.fleet.Members()
		time.Sleep(time.Minute)
		synctest.Wait()
		after := caller.fleet.Members()
		require.Len(t, after, 4)
		for i := range after {
			require.Equal(t, before[i].Session, after[i].Session)
			require.Less(t, time.Since(after[i].Heard), time.Second/2)
		}
		_, err := caller.ExecuteRaw(context.Background(), "echo", json.RawMessage("1"))
		require.NoError(t, err)
	})
}

// TestFleetLateKeeper: a process that was stopped itself does not hold it against the others.
func TestFleetLateKeeper(t *testing.T) {
	t.Parallel()
	bubble(t, 2, fleet.Options{}, func(t *testing.T, caller *member, _ []*member, _ []*atomic.Int64) {
		caller.fleet.Age(time.Minute)
		caller.fleet.Tick(time.Minute)
		require.Len(t, caller.fleet.Members(), 2)
		caller.fleet.Age(time.Minute)
		caller.fleet.Tick(0)
		require.Empty(t, caller.fleet.Members())
		time.Sleep(6 * time.Second)
		synctest.Wait()
		require.Len(t, caller.fleet.Members(), 2, "they say that they are there")
	})
}

// TestFleetClocks: a request that waits in the broker for longer than its caller does is not executed, however far
// the clocks are apart; one that does not is.
func TestFleetClocks(t *testing.T) {
	t.Parallel()
	for name, skew := range map[string]time.Duration{"alike": 0, "an hour ahead": time.Hour, "an hour behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ps := memory.New(memory.Options{})
				caller := join(t, ps, "caller", fleet.Options{})
				worker := join(t, ps, "worker", fleet.WithClock(fleet.Options{}, func() time.Time { return time.Now().Add(skew) }))
				left := make(chan time.Duration, 10)
				serve(t, worker, "left", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
					at, _ := ctx.Deadline()
					left <- time.Until(at)
					return nil, nil
				})
				synctest.Wait()
				require.InDelta(t, skew, caller.fleet.Members()[0].ClockOffset, float64(time.Millisecond))
				require.InDelta(t, -skew, worker.fleet.Members()[0].ClockOffset, float64(time.Millisecond))

				ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
				defer cancel()
				hold(caller, "worker")
				first := make(chan error, 1)
				go func() {
					_, err := caller.ExecuteRaw(ctx, "left", nil)
					first <- err
				}()
				time.Sleep(time.Second)
				caller.line.release(t)
				require.NoError(t, <-first)
				require.InDelta(t, 2*time.Second, <-left, float64(time.Millisecond), "a second of three was spent in the broker")

				ctx, cancel = context.WithTimeout(context.Background(), 3*time.Second)
				defer cancel()
				hold(caller, "worker")
				_, err := caller.ExecuteRaw(ctx, "left", nil)
				require.ErrorIs(t, err, commands.ErrTimeout)
				time.Sleep(time.Second)
				caller.line.release(t)
				synctest.Wait()
				require.Empty(t, left, "nobody waits for it, and it was executed")
				require.EqualValues(t, 1, worker.fleet.Stats().Expired)
				require.Zero(t, worker.fleet.Stats().Serving)

				caller.end(t)
				worker.end(t)
				require.NoError(t, ps.Close())
				synctest.Wait()
			})
		})
	}
}

// TestFleetClockIsSet: a process whose clock is set, as it is when a machine goes on after a pause, loses a request with that, and
// not all until its clock is measured again in its turn.
func TestFleetClockIsSet(t *testing.T) {
	t.Parallel()
	for name, by := range map[string]struct{ caller, worker time.Duration }{"the caller's, back": {caller: -time.Hour}, "the worker's, on": {worker: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ps := memory.New(memory.Options{})
				var set atomic.Bool
				clock := func(by time.Duration) fleet.Options {
					return fleet.WithClock(fleet.Options{}, func() time.Time {
						if set.Load() {
							return time.Now().Add(by)
						}
						return time.Now()
					})
				}
				caller, worker := join(t, ps, "caller", clock(by.caller)), join(t, ps, "worker", clock(by.worker))
				serve(t, worker, "echo", func(_ context.Context, req json.RawMessage) (json.RawMessage, error) { return req, nil })
				synctest.Wait()
				set.Store(true)
				failed := 0
				for range 20 {
					ctx, cancel := context.WithTimeout(context.Background(), time.Second)
					if _, err := caller.ExecuteRaw(ctx, "echo", nil); err != nil {
						require.ErrorIs(t, err, commands.ErrTimeout)
						failed++
					}
					cancel()
				}
				require.LessOrEqual(t, failed, 1)
				require.InDelta(t, by.caller-by.worker, worker.fleet.Members()[0].ClockOffset, float64(time.Millisecond))
				caller.end(t)
				worker.end(t)
				require.NoError(t, ps.Close())
				synctest.Wait()
			})
		})
	}
}

// hold keeps what goes to a process's inbox in the broker.
func hold(m *member, to string) {
	m.line.set(func() { m.line.hold = func(topic string) bool { return strings.HasSuffix(topic, ".inbox."+to) } })
}

// TestFleetOutage: while the broker is down, the calls that wait end, new ones are told that the channel is not
// connected rather than that nobody has the command, and afterwards everything works as before.
func TestFleetOutage(t *testing.T) {
	t.Parallel()
	bubble(t, 2, fleet.Options{Lease: 3 * time.Second}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
		all := append([]*member{caller}, team...)
		results := calling(caller, "wait", 10)
		synctest.Wait()
		for _, m := range all {
			m.line.set(func() { m.line.down = true })
		}
		for range 10 {
			require.ErrorIs(t, (<-results).err, commands.ErrChannelDisconnected)
		}
		for range 10 {
			_, err := caller.ExecuteRaw(context.Background(), "echo", nil)
			require.ErrorIs(t, err, commands.ErrChannelDisconnected)
			time.Sleep(time.Second)
		}
		require.Empty(t, caller.fleet.Members())
		for _, m := range all {
			m.line.set(func() { m.line.down = false })
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Len(t, caller.fleet.Members(), 2)
		got, err := caller.ExecuteRaw(context.Background(), "echo", json.RawMessage("1"))
		require.NoError(t, err)
		require.Equal(t, "1", string(got))
	})
}

// TestFleetShortOutage: what could not be published for a moment is published after it, in order.
func TestFleetShortOutage(t *testing.T) {
	t.Parallel()
	bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
		var heard []string
		_, err := team[0].Events().ListenRaw("e", func(_ context.Context, _ string, p json.RawMessage) { heard = append(heard, string(p)) })
		require.NoError(t, err)
		caller.line.set(func() { caller.line.down = true })
		var want []string
		for i := range 100 {
			want = append(want, strconv.Itoa(i))
			require.NoError(t, caller.Events().EmitRaw(context.Background(), "e", json.RawMessage(strconv.Itoa(i))))
		}
		results := calling(caller, "echo", 10)
		time.Sleep(time.Second)
		caller.line.set(func() { caller.line.down = false })
		for range 10 {
			require.NoError(t, (<-results).err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, want, heard)
		require.Zero(t, caller.fleet.Stats().Unsent)
	})
}

// TestFleetRefusedMessage: one message that the broker never takes costs its own call, and no other for long, be they
// behind it or in one bundle with it.
func TestFleetRefusedMessage(t *testing.T) {
	t.Parallel()
	for _, bundled := range []bool{false, true} {
		t.Run(fmt.Sprintf("bundled=%v", bundled), func(t *testing.T) {
			t.Parallel()
			refusedMessage(t, bundled)
		})
	}
}

func refusedMessage(t *testing.T, bundled bool) {
	bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, _ []*member, _ []*atomic.Int64) {
		caller.line.set(func() {
			caller.line.fails = func(m *message.Message) bool { return bytes.Contains(m.Payload, []byte(`"poison"`)) }
			caller.line.down = bundled
		})
		poisoned := make(chan error, 1)
		before := calling(caller, "echo", 5)
		synctest.Wait()
		go func() {
			_, err := caller.ExecuteRaw(context.Background(), "echo", json.RawMessage(`"poison"`))
			poisoned <- err
		}()
		synctest.Wait()
		begun := time.Now()
		results := calling(caller, "echo", 10)
		synctest.Wait()
		caller.line.set(func() { caller.line.down = false })
		for range 5 {
			require.NoError(t, (<-before).err)
		}
		for range 10 {
			require.NoError(t, (<-results).err)
		}
		require.Less(t, time.Since(begun), 2*time.Second)
		require.ErrorIs(t, <-poisoned, commands.ErrChannelDisconnected)
		require.Less(t, time.Since(begun), 2*time.Second)
		require.EqualValues(t, 1, caller.fleet.Stats().Unsent)
	})
}

// TestFleetSubscriptionEnds: a subscription that the broker ends is made again.
func TestFleetSubscriptionEnds(t *testing.T) {
	t.Parallel()
	bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
		for name, cancel := range caller.line.subs {
			cancel()
			time.Sleep(time.Second)
			_, err := caller.ExecuteRaw(context.Background(), "echo", json.RawMessage("1"))
			require.NoErrorf(t, err, "after the end of %s", name)
		}
		require.EqualValues(t, 3, caller.fleet.Stats().Resubscribed)
		time.Sleep(time.Minute)
		require.Len(t, caller.fleet.Members(), 1)
	})
}

// TestFleetReplyOfAnother: only the process that has the call can answer it.
func TestFleetReplyOfAnother(t *testing.T) {
	t.Parallel()
	bubble(t, 2, fleet.Options{}, func(t *testing.T, caller *member, team []*member, runs []*atomic.Int64) {
		var request string
		caller.line.set(func() {
			caller.line.fails = func(m *message.Message) bool {
				if ids := fleet.RequestsIn(m); len(ids) > 0 {
					request = ids[0]
				}
				return false
			}
		})
		results := calling(caller, "wait", 1)
		synctest.Wait()
		other := caller.fleet.Members()[0]
		if runs[0].Load() == 1 {
			other = caller.fleet.Members()[1]
		}
		reply, err := bus.Binary.Marshal(bus.Envelope{ID: "r", Type: bus.ExecuteResponse, Thread: request})
		require.NoError(t, err)
		reply.Metadata["leat-fleet-from"], reply.Metadata["leat-fleet-session"] = other.ID, other.Session
		reply.Metadata["leat-fleet-to"] = sessionOf(t, team[0], "caller")
		require.NoError(t, caller.line.PubSub.Publish("test.inbox.caller", reply))
		synctest.Wait()
		require.Empty(t, results)
		require.EqualValues(t, 1, caller.fleet.Stats().Late)
		require.Equal(t, 1, caller.fleet.Stats().Pending)
	})
}

// sessionOf is that of a process, as another one sees it.
func sessionOf(t *testing.T, m *member, id string) string {
	t.Helper()
	for _, other := range m.fleet.Members() {
		if other.ID == id {
			return other.Session
		}
	}
	require.FailNow(t, "not a member: "+id)
	return ""
}

// TestFleetUnheardCaller: a caller that the others do not hear any more, while it hears them, is told that they have
// given it up.
func TestFleetUnheardCaller(t *testing.T) {
	t.Parallel()
	bubble(t, 2, fleet.Options{}, func(t *testing.T, caller *member, _ []*member, _ []*atomic.Int64) {
		results := calling(caller, "wait", 10)
		synctest.Wait()
		caller.line.set(func() { caller.line.mute = true })
		for range 10 {
			got := <-results
			require.ErrorIs(t, got.err, commands.ErrChannelDisconnected)
			require.LessOrEqual(t, got.after, 8*time.Second)
		}
	})
}

// TestFleetUnheardWithdrawal: where nobody has heard that a command is gone, the first call finds out.
func TestFleetUnheardWithdrawal(t *testing.T) {
	t.Parallel()
	bubble(t, 1, fleet.Options{Lease: time.Hour}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
		team[0].line.set(func() {
			team[0].line.fails = func(m *message.Message) bool { return m.Metadata["leat-fleet-kind"] == "change" }
		})
		require.True(t, team[0].Unregister("echo"))
		synctest.Wait()
		require.Contains(t, caller.fleet.Members()[0].Commands, "echo")
		_, err := caller.ExecuteRaw(context.Background(), "echo", nil)
		require.ErrorIs(t, err, commands.ErrNotFound)
		synctest.Wait()
		require.Equal(t, []string{"wait"}, caller.fleet.Members()[0].Commands)
		require.Len(t, caller.Commands(), 1)
	})
}

// TestFleetForgottenCalls: a call whose caller has left is forgotten on both sides.
func TestFleetForgottenCalls(t *testing.T) {
	t.Parallel()
	bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, team []*member, runs []*atomic.Int64) {
		ctx, cancel := context.WithCancel(context.Background())
		results := make(chan error, 10)
		for range 10 {
			go func() {
				_, err := caller.ExecuteRaw(ctx, "wait", nil)
				results <- err
			}()
		}
		synctest.Wait()
		require.EqualValues(t, 10, runs[0].Load())
		require.Equal(t, 10, team[0].fleet.Stats().Serving)
		cancel()
		synctest.Wait()
		require.Len(t, results, 10)
		require.Zero(t, caller.fleet.Stats().Pending)
		require.Zero(t, team[0].fleet.Stats().Serving)
	})
}
