//go:build unix

package brokers_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing/fleet"
)

// faultRetention is short: processes that are killed leave things behind.
const faultRetention = time.Minute

const faultLease = 2 * time.Second

// overdue is when a process that is not heard of must have been given up, and its calls with it.
const overdue = faultLease*4/3 + 3*time.Second // a third between two heartbeats, and what a busy machine takes

// betweenProcesses runs a test against the backends that lead to other processes. Redis and Postgres are the test's own:
// each process takes two dozen connections.
func betweenProcesses(t *testing.T, test func(t *testing.T, k kind)) {
	t.Helper()
	for _, k := range kinds {
		switch k.name {
		case "nats-embedded", "jetstream-embedded", "amqp":
		case "redis":
			k = kind{name: k.name, url: func(t testing.TB) string { return startRedis(t).url() }}
		case "postgres":
			k = kind{name: k.name, url: func(t testing.TB) string { return startPostgres(t).url() }}
		default:
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			test(t, k)
		})
	}
}

// workforce is a fleet of processes, and a caller in this one.
type workforce struct {
	t       *testing.T
	url, ns string
	workers map[string]*child
	caller  *commands.Registry
	fleet   *fleet.Fleet
	held    chan holding
}

func newWorkforce(t *testing.T, k kind, ids ...string) *workforce {
	t.Helper()
	w := &workforce{t: t, url: k.url(t), ns: namespace(), workers: make(map[string]*child), held: make(chan holding, 16)}
	b := k.openAt(t, w.url, brokers.Options{Namespace: w.ns, Retention: faultRetention})
	if k.purge != nil {
		t.Cleanup(func() { k.purge(t, w.url, w.ns) })
	}
	w.caller, w.fleet = process(t, b, fleet.Options{ID: "caller", Lease: faultLease})
	_, err := events.Listen(w.caller.Events(), held, func(_ context.Context, h holding) { w.held <- h })
	require.NoError(t, err)
	for _, id := range ids {
		w.hire(id)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	require.NoError(t, w.fleet.Await(ctx, who.ID(), whoAgain.ID(), hold.ID(), retry.ID()))
	return w
}

func (w *workforce) hire(id string) {
	w.t.Helper()
	w.workers[id] = start(w.t, "worker", w.url, w.ns, id, faultLease.String())
}

// outcome is how a call ended.
type outcome struct {
	result string
	err    error
	took   time.Duration
}

// occupy calls a command that does not return, and says which worker has it.
func (w *workforce) occupy(c commands.Command[string, string], call string) (worker string, ended <-chan outcome) {
	w.t.Helper()
	out := make(chan outcome, 1)
	go func() {
		// One key, one worker.
		ctx, cancel := context.WithTimeout(commands.WithKey(context.Background(), "the same"), callTime)
		defer cancel()
		began := time.Now()
		result, err := commands.Execute(ctx, w.caller, c, call)
		out <- outcome{result, err, time.Since(began)}
	}()
	select {
	case h := <-w.held:
		require.Equal(w.t, call, h.Call)
		return h.Worker, out
	case o := <-out:
		require.Failf(w.t, "the call has ended", "%+v", o)
	case <-time.After(callTime):
		require.Fail(w.t, "nobody has the call")
	}
	return "", nil
}

// A worker that is killed, or paused for longer than its lease, in the middle of calls and under load: its calls
// fail within the lease, or are taken over where they may be; nobody else's do, none hangs, and when
// it is back it serves again.
func TestWorkerFault(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct {
		strike func(*workforce, string)
		mend   func(*workforce, string)
	}{
		"killed": {
			func(w *workforce, id string) { w.workers[id].kill() },
			func(w *workforce, id string) { w.hire(id) },
		},
		"paused": {
			func(w *workforce, id string) { w.workers[id].signal(syscall.SIGSTOP) },
			func(w *workforce, id string) { w.workers[id].signal(syscall.SIGCONT) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			betweenProcesses(t, func(t *testing.T, k kind) {
				w := newWorkforce(t, k, "w1", "w2", "w3")
				load := startLoad(t, w.caller, 8, who, whoAgain)
				for id := range w.workers {
					load.more(id)
				}
				victim, once := w.occupy(hold, "once")
				same, again := w.occupy(retry, "again")
				require.Equal(t, victim, same)

				struck := time.Now()
				fault.strike(w, victim)
				o := <-once
				require.ErrorIs(t, o.err, commands.ErrChannelDisconnected)
				require.Less(t, time.Since(struck), overdue)
				o = <-again
				require.NoError(t, o.err, "an idempotent call is taken over")
				require.NotEqual(t, victim, o.result)
				require.Less(t, time.Since(struck), overdue)

				fault.mend(w, victim)
				load.more(victim)
				load.settle(overdue)
				require.Zero(t, w.fleet.Stats().Pending)
				require.Zero(t, load.failed[commands.Timeout])
			})
		})
	}
}
