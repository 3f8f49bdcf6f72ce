package pairingtest

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func fleetDepartures() []fleetStatement {
	return []fleetStatement{
		{"one_that_goes_silent_fails_exactly_its_calls", silentFails, nil},
		{"idempotent_calls_of_a_silent_one_run_elsewhere_once_more", silentRerouted, nil},
		{"idempotent_calls_are_sent_once_more_and_not_twice", onceMoreNotTwice, nil},
		{"goodbye_fails_exactly_its_calls_at_once", goodbyeFails, nil},
		{"a_paused_one_comes_back", pausedComesBack, nil},
		{"what_a_vanished_caller_asked_for_is_cancelled", vanishedCaller, nil},
		{"leave_finishes_what_runs_and_refuses_new", leaveFinishes, nil},
		{"leave_under_load_fails_no_call", leaveUnderLoad, nil},
		{"leave_gives_up_when_its_ctx_ends", leaveGivesUp, nil},
		{"a_registry_that_closes_leaves", registryCloses, nil},
		{"of_two_with_one_id_the_younger_stays", twins, nil},
		{"one_that_begins_anew_takes_its_place", beginsAnew, nil},
	}
}

// idempotent registers "job" as a stuck handler everywhere, and returns a call of it that may run twice.
var job = commands.Define[string, string]("job", "", commands.Options{Idempotent: true})

func (k *fleetKit) jobs(r *commands.Registry, keys ...string) <-chan answer {
	c := make(chan answer, 1)
	ctx := k.ctx
	for _, key := range keys {
		ctx = commands.WithKey(ctx, key)
	}
	go func() {
		got, err := commands.Execute(ctx, r, job, "x")
		c <- answer{json.RawMessage(got), err}
	}()
	return c
}

// sworn has a caller, and workers with a command that does not return: calls says how many run where.
func (k *fleetKit) sworn(workers int, options ...nodeOptions) (caller *node, team []*node, s []*stuck) {
	k.t.Helper()
	all := k.nodes(workers+1, options...)
	for _, n := range all[1:] {
		s = append(s, k.stuck(n.Registry, "stuck"))
	}
	k.serves(all[0], "stuck", workers)
	k.can(all[:1], "stuck")
	return all[0], all[1:], s
}

func (k *fleetKit) short() nodeOptions {
	return nodeOptions{fleet: func(o *fleetOptions) { o.Lease = k.lease() }}
}

// spread makes calls of "stuck" until both workers have some, and tells them apart.
func (k *fleetKit) spread(caller *node, s []*stuck) (byWorker [][]<-chan answer) {
	k.t.Helper()
	byWorker = make([][]<-chan answer, len(s))
	for len(byWorker[0]) < 5 || len(byWorker[1]) < 5 {
		c := k.call(k.ctx, caller.Registry, "stuck", "")
		select {
		case <-s[0].started:
			byWorker[0] = append(byWorker[0], c)
		case <-s[1].started:
			byWorker[1] = append(byWorker[1], c)
		case <-k.ctx.Done():
			k.t.Fatal("no handler has started")
		}
	}
	return byWorker
}

func (k *fleetKit) allFail(calls []<-chan answer, kind error) {
	k.t.Helper()
	for _, c := range calls {
		require.ErrorIs(k.t, recv(k.kit, c, "the answer").err, kind)
	}
}

func (k *fleetKit) allSucceed(calls []<-chan answer) {
	k.t.Helper()
	for _, c := range calls {
		require.NoError(k.t, recv(k.kit, c, "the answer").err)
	}
}

func silentFails(k *fleetKit) {
	caller, team, s := k.sworn(2, k.short())
	calls := k.spread(caller, s)
	team[0].net.cut.Store(true)
	k.allFail(calls[0], commands.ErrChannelDisconnected)
	k.serves(caller, "stuck", 1)
	for _, c := range calls[1] {
		require.Empty(k.t, c, "a call of one that is there has failed too")
	}
	require.EqualValues(k.t, len(calls[0]), caller.fleet.Stats().Lost)
	s[1].let()
	k.allSucceed(calls[1])
	k.rest(caller, team[1])
}

// workers registers "job" on each: it says who has run it, and waits if it is told to.
func (k *fleetKit) workers(team []*node, wait *atomic.Pointer[string]) (ran func() map[string]int, started chan string) {
	k.t.Helper()
	var mu sync.Mutex
	count := map[string]int{}
	started = make(chan string, 64)
	for _, n := range team {
		require.NoError(k.t, commands.Register(k.ctx, n.Registry, job, func(ctx context.Context, _ string) (string, error) {
			mu.Lock()
			count[n.ID()]++
			mu.Unlock()
			started <- n.ID()
			if w := wait.Load(); w != nil && (*w == n.ID() || *w == "all") {
				<-ctx.Done()
				return "", ctx.Err()
			}
			return n.ID(), nil
		}))
	}
	return func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		copied := map[string]int{}
		for who, n := range count {
			copied[who] = n
		}
		return copied
	}, started
}

func silentRerouted(k *fleetKit) {
	all := k.nodes(3, k.short())
	caller, team := all[0], all[1:]
	var wait atomic.Pointer[string]
	all0 := "all"
	wait.Store(&all0)
	ran, started := k.workers(team, &wait)
	k.serves(caller, "job", 2)
	k.can(all[:1], "job")
	c := k.jobs(caller.Registry)
	first := recv(k.kit, started, "the first run")
	free := ""
	wait.Store(&free)
	for _, n := range team {
		if n.ID() == first {
			n.net.cut.Store(true)
		}
	}
	got := recv(k.kit, c, "the answer")
	require.NoError(k.t, got.err)
	require.NotEqual(k.t, first, string(got.body))
	require.Equal(k.t, map[string]int{first: 1, string(got.body): 1}, ran())
	require.EqualValues(k.t, 1, caller.fleet.Stats().Rerouted)
}

// onceMoreNotTwice has the second process vanish too.
func onceMoreNotTwice(k *fleetKit) {
	all := k.nodes(4, k.short())
	caller, team := all[0], all[1:]
	var wait atomic.Pointer[string]
	everybody := "all"
	wait.Store(&everybody)
	ran, started := k.workers(team, &wait)
	k.serves(caller, "job", 3)
	k.can(all[:1], "job")
	c := k.jobs(caller.Registry)
	for range 2 {
		who := recv(k.kit, started, "a run")
		for _, n := range team {
			if n.ID() == who {
				require.NoError(k.t, n.fleet.Close())
			}
		}
	}
	require.ErrorIs(k.t, recv(k.kit, c, "the answer").err, commands.ErrChannelDisconnected)
	require.Len(k.t, ran(), 2)
	require.Empty(k.t, started)
}

func goodbyeFails(k *fleetKit) {
	caller, team, s := k.sworn(2)
	calls := k.spread(caller, s)
	require.NoError(k.t, team[0].fleet.Close())
	k.allFail(calls[0], commands.ErrChannelDisconnected)
	k.awaits(team[0].link.Done(), "the link's end")
	require.ErrorIs(k.t, team[0].link.Err(), bus.ErrPeerClosed)
	for range calls[0] {
		require.ErrorIs(k.t, recv(k.kit, s[0].ended, "the handler's end"), context.Canceled)
	}
	s[1].let()
	k.allSucceed(calls[1])
	require.Len(k.t, caller.fleet.Members(), 1)
	k.rest(caller, team[1])
}

// pausedComesBack cuts a process off past its lease, so that nobody knows anybody, and lets it in again.
func pausedComesBack(k *fleetKit) {
	caller, team, s := k.sworn(1, k.short())
	worker := team[0]
	c := k.call(k.ctx, caller.Registry, "stuck", "")
	recv(k.kit, s[0].started, "the handler's start")
	worker.net.cut.Store(true)
	require.ErrorIs(k.t, recv(k.kit, c, "the answer").err, commands.ErrChannelDisconnected)
	k.forgets(caller.Registry, "stuck")
	k.eventually("the worker has lost the caller", func() bool { return len(worker.fleet.Members()) == 0 })
	require.ErrorIs(k.t, recv(k.kit, s[0].ended, "the handler's end"), context.Canceled)
	worker.net.cut.Store(false)
	k.can([]*node{caller}, "stuck")
	c = k.call(k.ctx, caller.Registry, "stuck", "")
	recv(k.kit, s[0].started, "the handler's start")
	s[0].let()
	require.NoError(k.t, recv(k.kit, c, "the answer").err)
	k.rest(caller, worker)
}

func vanishedCaller(k *fleetKit) {
	caller, _, s := k.sworn(1, k.short())
	c := k.call(k.ctx, caller.Registry, "stuck", "")
	recv(k.kit, s[0].started, "the handler's start")
	caller.net.cut.Store(true)
	require.ErrorIs(k.t, recv(k.kit, s[0].ended, "the handler's end"), context.Canceled)
	require.ErrorIs(k.t, recv(k.kit, c, "the answer").err, commands.ErrChannelDisconnected, "it has lost the worker too")
}

func leaveFinishes(k *fleetKit) {
	caller, team, s := k.sworn(2)
	calls := k.spread(caller, s)
	left := make(chan error, 1)
	go func() { left <- team[0].fleet.Leave(k.ctx) }()
	k.serves(caller, "stuck", 1)
	for range 5 { // all go to the other one
		calls[1] = append(calls[1], k.call(k.ctx, caller.Registry, "stuck", ""))
		recv(k.kit, s[1].started, "the handler's start")
	}
	require.Empty(k.t, left, "it has left with handlers running")
	require.Empty(k.t, s[0].started)
	s[0].let()
	k.allSucceed(calls[0])
	require.NoError(k.t, recv(k.kit, left, "the end of Leave"))
	k.awaits(team[0].link.Done(), "the link's end")
	s[1].let()
	k.allSucceed(calls[1])
	require.Zero(k.t, caller.fleet.Stats().Lost)
}

// leaveUnderLoad has workers come and leave all the time: not a single call may notice.
func leaveUnderLoad(k *fleetKit) {
	caller, team := k.team(2)
	stop := make(chan struct{})
	var calls atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := caller.ExecuteRaw(k.ctx, "who", nil); err != nil {
					k.t.Errorf("a call failed: %v", err)
					return
				}
				calls.Add(1)
			}
		})
	}
	for i := range 6 {
		n := k.node("w" + strconv.Itoa(i))
		k.says(n.Registry, "who", "1")
		k.serves(caller, "who", 3)
		before := calls.Load()
		k.eventually("calls go on", func() bool { return calls.Load() > before+20 })
		require.NoError(k.t, team[0].fleet.Leave(k.ctx))
		require.NoError(k.t, team[0].Shutdown(k.ctx))
		team = append(team[1:], n)
	}
	close(stop)
	wg.Wait()
	require.Zero(k.t, caller.fleet.Stats().Lost)
}

func leaveGivesUp(k *fleetKit) {
	caller, team, s := k.sworn(1)
	c := k.call(k.ctx, caller.Registry, "stuck", "")
	recv(k.kit, s[0].started, "the handler's start")
	ctx, cancel := context.WithTimeout(k.ctx, k.brief())
	defer cancel()
	err := team[0].fleet.Leave(ctx)
	require.ErrorIs(k.t, err, context.DeadlineExceeded)
	require.ErrorContains(k.t, err, "1 requests were left")
	require.ErrorIs(k.t, recv(k.kit, c, "the answer").err, commands.ErrChannelDisconnected)
}

func registryCloses(k *fleetKit) {
	caller, team, s := k.sworn(2)
	calls := k.spread(caller, s)
	require.NoError(k.t, team[0].Close())
	k.allFail(calls[0], commands.ErrChannelDisconnected)
	k.serves(caller, "stuck", 1)
	k.awaits(team[0].fleet.Done(), "the fleet's end")
	require.ErrorIs(k.t, team[0].fleet.Err(), bus.ErrClosed)
	s[1].let()
	k.allSucceed(calls[1])
}

func twins(k *fleetKit) {
	caller, team := k.team(1)
	old := team[0]
	young := k.node(old.ID())
	k.says(young.Registry, "who", `"young"`)
	k.awaits(old.fleet.Done(), "the end of the older one")
	require.ErrorContains(k.t, old.fleet.Err(), "same ID")
	k.awaits(old.link.Done(), "the end of its link")
	k.eventually("the younger one serves", func() bool {
		got, err := caller.ExecuteRaw(k.ctx, "who", nil)
		return err == nil && string(got) == `"young"`
	})
	require.NoError(k.t, young.fleet.Err())
	require.Len(k.t, caller.fleet.Members(), 1)
}

// beginsAnew has a process vanish without a word, and begin again before its lease is over.
func beginsAnew(k *fleetKit) {
	caller, team, s := k.sworn(1)
	c := k.call(k.ctx, caller.Registry, "stuck", "")
	recv(k.kit, s[0].started, "the handler's start")
	team[0].net.cut.Store(true)
	again := k.node(team[0].ID())
	require.ErrorIs(k.t, recv(k.kit, c, "the answer").err, commands.ErrChannelDisconnected)
	k.says(again.Registry, "who", `"again"`)
	k.can([]*node{caller}, "who")
	require.Equal(k.t, `"again"`, k.ok(caller.Registry, "who", ""))
}
