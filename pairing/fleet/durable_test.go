package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/fleet"
)

var (
	durable  = commands.Options{Durable: true, TTL: 20 * time.Second}
	jobAdd   = commands.Define[pairOf, int]("job.add", "", durable)
	jobPlain = commands.Define[pairOf, int]("job.add", "")
)

type pairOf struct{ A, B int }

const (
	jobTopic    = "shop.queue.job.add"
	durablePass = 20 * time.Second
)

func TestDurableCallsAreSharedByTheWorkers(t *testing.T) {
	t.Parallel()
	d := newDepot()
	caller := d.site(t, "caller")
	var ran [2]atomic.Int64
	for i := range ran {
		w := d.site(t, fmt.Sprintf("w%d", i))
		w.serve(t, func(ctx context.Context, p pairOf) (int, error) {
			ran[i].Add(1)
			return add(ctx, p)
		})
	}
	caller.can(t, "job.add")
	until(t, "both are known", func() bool { return len(caller.fleet.Members()) == 2 })
	for _, info := range caller.Commands() {
		assert.True(t, info.Durable, "the registry of the caller knows that %s is durable", info.ID)
	}
	const calls = 100
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			if i%2 == 0 {
				a := <-caller.call(t.Context(), i, 1)
				assert.NoError(t, a.err)
				assert.Equal(t, i+1, a.sum)
				return
			}
			res, err := caller.ExecuteRaw(t.Context(), "job.add", fmt.Appendf(nil, `{"A":%d,"B":1}`, i))
			assert.NoError(t, err)
			assert.Equal(t, fmt.Sprint(i+1), string(res), "who calls it without its type gets it just as durable")
		})
	}
	wg.Wait()
	assert.Equal(t, int64(calls), ran[0].Load()+ran[1].Load())
	assert.NotZero(t, ran[0].Load())
	assert.NotZero(t, ran[1].Load())
	assert.Equal(t, calls, d.queued(), "each request has gone through the queue")
	until(t, "all are acked", func() bool { return d.acks() == calls })
	until(t, "nothing is left", func() bool { s := caller.fleet.Stats(); return s.Pending == 0 && s.Queued == 0 })
}

func TestDurableRequestIsExecutedElsewhereWhenItsProcessEnds(t *testing.T) {
	t.Parallel()
	d := newDepot()
	caller, first, second := d.site(t, "caller"), d.site(t, "first"), d.site(t, "second")
	began, stuck := make(chan string, 1), make(chan struct{})
	t.Cleanup(func() { close(stuck) })
	first.serve(t, func(ctx context.Context, _ pairOf) (int, error) {
		began <- commands.OnceKey(ctx)
		<-stuck
		return 0, nil
	})
	caller.can(t, "job.add")
	c := caller.call(t.Context(), 1, 2)
	once := got(t, began, "the first has it")
	assert.NotEmpty(t, once)
	keys := make(chan string, 1)
	second.serve(t, func(ctx context.Context, p pairOf) (int, error) {
		keys <- commands.OnceKey(ctx)
		return add(ctx, p)
	})
	require.NoError(t, first.fleet.Close())
	assert.Equal(t, answer{3, nil}, got(t, c, "the reply"))
	assert.Equal(t, once, got(t, keys, "the second has it"), "what names the request is the same each time")
	until(t, "it is acked, once", func() bool { return d.acks() == 1 })
}

func TestDurableRequestWaitsForAWorker(t *testing.T) {
	t.Parallel()
	d := newDepot()
	caller := d.site(t, "caller")
	w := d.site(t, "w1")
	w.serve(t, add)
	caller.can(t, "job.add")
	require.NoError(t, w.fleet.Leave(t.Context()))
	until(t, "nobody is left", func() bool { return len(caller.fleet.Members()) == 0 })
	c := caller.call(t.Context(), 3, 4)
	until(t, "it is in the queue", func() bool { return len(d.queue(jobTopic)) == 1 })
	d.site(t, "w2").serve(t, add)
	assert.Equal(t, answer{7, nil}, got(t, c, "the reply"))
}

func TestDurableRequestIsExecutedThoughItsCallerHasLeft(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]struct {
		does     func(t *testing.T, caller *site, cancel func())
		orphaned uint64
	}{
		"call":    {func(_ *testing.T, _ *site, cancel func()) { cancel() }, 0},
		"process": {func(t *testing.T, caller *site, _ func()) { require.NoError(t, caller.fleet.Close()) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDepot()
			caller, w := d.site(t, "caller"), d.site(t, "w")
			began, free, ended := make(chan context.Context, 1), make(chan struct{}), make(chan error, 1)
			w.serve(t, func(ctx context.Context, _ pairOf) (int, error) {
				began <- ctx
				<-free
				ended <- ctx.Err()
				return 0, nil
			})
			caller.can(t, "job.add")
			ctx, cancel := context.WithTimeout(t.Context(), durablePass)
			defer cancel()
			c := caller.call(ctx, 1, 1)
			run := got(t, began, "the handler")
			_, limited := run.Deadline()
			assert.False(t, limited, "the caller's deadline is not the handler's")
			leave.does(t, caller, cancel)
			require.Error(t, got(t, c, "the call").err)
			if leave.orphaned > 0 {
				until(t, "the worker knows", func() bool { return len(w.fleet.Members()) == 0 })
			}
			close(free)
			assert.NoError(t, got(t, ended, "the end"), "the handler was not cancelled")
			until(t, "it is acked", func() bool { return d.acks() == 1 })
			assert.Equal(t, leave.orphaned, w.fleet.Stats().Orphaned)
		})
	}
}

func TestDurableHandlersErrorIsAReply(t *testing.T) {
	t.Parallel()
	d := newDepot()
	caller, w := d.site(t, "caller"), d.site(t, "w")
	var runs atomic.Int64
	w.serve(t, func(_ context.Context, p pairOf) (int, error) {
		runs.Add(1)
		if p.B == 2 {
			panic("two")
		}
		return 0, commands.Errorf(commands.NotFound, "no account %d", p.A)
	})
	caller.can(t, "job.add")
	a := got(t, caller.call(t.Context(), 7, 1), "the error")
	require.ErrorIs(t, a.err, commands.ErrNotFound)
	assert.EqualError(t, a.err, "no account 7")
	require.ErrorIs(t, got(t, caller.call(t.Context(), 7, 2), "the panic").err, commands.ErrInternal)
	until(t, "both are acked", func() bool { return d.acks() == 2 })
	assert.Equal(t, int64(2), runs.Load())
	assert.Zero(t, w.fleet.Stats().Returned)
}

// TestDurableReplyThatMayBeLost: its caller does not wait in vain when its inbox may have lost something; the request is
// executed.
func TestDurableReplyThatMayBeLost(t *testing.T) {
	t.Parallel()
	d := newDepot()
	caller, w := d.site(t, "caller"), d.site(t, "w")
	began, free := w.serveHeld(t)
	caller.can(t, "job.add")
	c := caller.call(t.Context(), 1, 2)
	got(t, began, "the handler")
	caller.endInbox()
	require.ErrorIs(t, got(t, c, "the end of the call").err, commands.ErrChannelDisconnected)
	assert.EqualValues(t, 1, caller.fleet.Stats().Lost)
	close(free)
	until(t, "it is acked", func() bool { return d.acks() == 1 })
	c = caller.call(t.Context(), 3, 4)
	assert.Equal(t, answer{7, nil}, got(t, c, "the next reply"))
}

func TestDurableDuplicatesWhileItRunsAreOneRun(t *testing.T) {
	t.Parallel()
	d := newDepot()
	caller, other, w := d.site(t, "caller"), d.site(t, "other"), d.site(t, "w")
	began, free := make(chan string, 9), make(chan struct{})
	w.serve(t, func(ctx context.Context, p pairOf) (int, error) {
		began <- commands.OnceKey(ctx)
		<-free
		return add(ctx, p)
	})
	caller.can(t, "job.add")
	other.can(t, "job.add")
	ctx := commands.WithOnce(t.Context(), "order 17")
	c := caller.call(ctx, 1, 2)
	assert.Equal(t, "order 17", got(t, began, "the handler"))
	d.again(jobTopic, 0)
	c2 := other.call(ctx, 1, 2)
	until(t, "all have come", func() bool { return w.fleet.Stats().Duplicates == 2 })
	assert.Zero(t, d.acks(), "nothing is acked before the reply has left")
	close(free)
	assert.Equal(t, answer{3, nil}, got(t, c, "the reply"))
	assert.Equal(t, answer{3, nil}, got(t, c2, "the reply to who has made the call again"))
	until(t, "all are acked", func() bool { return d.acks() == 3 })
	assert.Empty(t, began, "it ran once")
}

func TestDurableNeedsAQueue(t *testing.T) {
	t.Parallel()
	without := func(o *fleet.Options) { o.Queue = nil }
	d := newDepot()
	caller := d.site(t, "caller", siteOptions{fleet: without})
	routed := d.site(t, "routed", siteOptions{commands.Config{RouterChannel: "fleet"}, without})
	<-routed.link.Ready()
	err := commands.Register(t.Context(), routed.Registry, jobAdd, add)
	require.ErrorIs(t, err, commands.ErrInvalidRequest)
	assert.ErrorContains(t, err, "Queue")

	w := d.site(t, "w", siteOptions{fleet: without})
	err = commands.Register(t.Context(), w.Registry, jobAdd, add)
	require.ErrorIs(t, err, commands.ErrInvalidRequest, "it is refused where it is not the router, too")
	assert.ErrorContains(t, err, "Queue")
	require.NoError(t, commands.Register(t.Context(), w.Registry, commands.Define[pairOf, int]("_job.add", "", durable), add), "it is private")

	early, err := commands.NewRegistry(commands.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, early.Close()) })
	require.NoError(t, commands.Register(t.Context(), early, jobAdd, add), "nobody knows yet that it will be in a fleet")
	f, err := fleet.New(t.Context(), d, d, fleet.Options{Namespace: "shop", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	_, err = early.RegisterChannel(t.Context(), f.Channel())
	require.ErrorIs(t, err, commands.ErrInvalidRequest)
	assert.ErrorContains(t, err, "job.add")
	require.NoError(t, f.Close())
	require.NoError(t, commands.Register(t.Context(), w.Registry, commands.Define[pairOf, int]("plain", ""), add))
	caller.can(t, "plain")
	require.ErrorIs(t, got(t, caller.call(t.Context(), 1, 1), "the refusal").err, commands.ErrNotFound)

	d.site(t, "w2").serve(t, add)
	caller.can(t, "job.add")
	assert.Equal(t, answer{2, nil}, got(t, caller.call(t.Context(), 1, 1), "the reply"), "a caller needs no queue")
}

func TestDurableForItsCallerOnlyIsRefused(t *testing.T) {
	t.Parallel()
	d := newDepot()
	caller, w := d.site(t, "caller"), d.site(t, "w")
	require.NoError(t, commands.Register(t.Context(), w.Registry, jobPlain, add))
	caller.can(t, "job.add")
	a := got(t, caller.call(t.Context(), 1, 1), "the refusal")
	require.ErrorIs(t, a.err, commands.ErrInternal)
	assert.ErrorContains(t, a.err, "queue")
	sum, err := commands.Execute(t.Context(), caller.Registry, jobPlain, pairOf{1, 1})
	require.NoError(t, err)
	assert.Equal(t, 2, sum)
	assert.Zero(t, d.queued())
}

// TestDurableNoMoreWhenWhoSaidSoHasLeft: of two versions of a program the one that made a command durable is withdrawn. Nobody takes
// from its queue then, so calls go to those that are there.
func TestDurableNoMoreWhenWhoSaidSoHasLeft(t *testing.T) {
	t.Parallel()
	d := newDepot()
	caller, old, canary := d.site(t, "caller"), d.site(t, "old"), d.site(t, "canary")
	isDurable := func() bool { all := caller.Commands(); return len(all) == 1 && all[0].Durable }
	call := func() <-chan answer {
		answers := make(chan answer, 1)
		go func() {
			sum, err := commands.Execute(t.Context(), caller.Registry, jobPlain, pairOf{1, 2})
			answers <- answer{sum, err}
		}()
		return answers
	}
	require.NoError(t, commands.Register(t.Context(), old.Registry, jobPlain, add))
	caller.can(t, "job.add")
	assert.Equal(t, answer{3, nil}, got(t, call(), "the reply")) // behind all that old has said of its commands
	canary.serve(t, add)
	until(t, "it is durable", isDurable)
	require.NoError(t, canary.fleet.Leave(t.Context()))
	until(t, "the registry knows that it is not any more", func() bool { return !isDurable() })
	assert.Equal(t, answer{3, nil}, got(t, call(), "the reply"))
	assert.Zero(t, d.queued())
}

func TestDurableCommandOfAPairIsAnOrdinaryOne(t *testing.T) {
	t.Parallel()
	a, err := commands.NewRegistry(commands.Config{ID: "a"})
	require.NoError(t, err)
	b, err := commands.NewRegistry(commands.Config{ID: "b"})
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	require.NoError(t, commands.Register(t.Context(), b, jobAdd, add))
	toB, toA := pairing.InMemory("b", "a")
	link, err := a.RegisterChannel(t.Context(), toB)
	require.NoError(t, err)
	_, err = b.RegisterChannel(t.Context(), toA)
	require.NoError(t, err)
	<-link.Ready()
	for _, r := range []*commands.Registry{a, b} {
		sum, err := commands.Execute(t.Context(), r, jobAdd, pairOf{1, 2})
		require.NoError(t, err)
		assert.Equal(t, 3, sum)
	}
}

func TestDurableWorkersBoundWhatIsTaken(t *testing.T) {
	t.Parallel()
	d := newDepot()
	caller := d.site(t, "caller")
	w := d.site(t, "w", siteOptions{commands.Config{MaxInFlight: 1}, func(o *fleet.Options) { o.DurableWorkers = 2 }})
	var now, most atomic.Int64
	w.serve(t, func(ctx context.Context, p pairOf) (int, error) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		return add(ctx, p)
	})
	caller.can(t, "job.add")
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() { assert.Equal(t, answer{i, nil}, <-caller.call(t.Context(), i, 0)) })
	}
	wg.Wait()
	assert.Equal(t, int64(1), most.Load(), "MaxInFlight counts for these as well, and holds nothing up")
	assert.Equal(t, uint64(50), w.fleet.Stats().Taken)
}

func TestLeaveStopsTakingFirst(t *testing.T) {
	t.Parallel()
	d := newDepot()
	caller := d.site(t, "caller")
	w1, w2 := d.site(t, "w1"), d.site(t, "w2")
	began, free := make(chan struct{}, 9), make(chan struct{})
	w1.serve(t, func(ctx context.Context, p pairOf) (int, error) {
		began <- struct{}{}
		<-free
		return 100, ctx.Err()
	})
	caller.can(t, "job.add")
	c1 := caller.call(t.Context(), 1, 1)
	got(t, began, "the handler")
	left := make(chan error, 1)
	go func() { left <- w1.fleet.Leave(t.Context()) }()
	until(t, "it has withdrawn", func() bool {
		for _, m := range caller.fleet.Members() {
			if m.ID == "w1" {
				return false
			}
		}
		return true
	})
	c2 := caller.call(t.Context(), 2, 2)
	until(t, "it is in the queue", func() bool { return len(d.queue(jobTopic)) == 1 })
	close(free)
	assert.Equal(t, answer{100, nil}, got(t, c1, "the reply of who leaves"))
	require.NoError(t, got(t, left, "the end"))
	assert.Empty(t, began, "nothing was executed after Leave had begun")
	assert.Equal(t, uint64(1), w1.fleet.Stats().Taken, "nor taken")
	w2.serve(t, add)
	assert.Equal(t, answer{4, nil}, got(t, c2, "the reply of the other"))
	until(t, "both are acked", func() bool { return d.acks() == 2 })
}

func TestShutdownGivesBackWhatIsNotStarted(t *testing.T) {
	t.Parallel()
	d := newDepot()
	caller, w1, w2 := d.site(t, "caller"), d.site(t, "w1"), d.site(t, "w2")
	began, free := make(chan struct{}, 9), make(chan struct{})
	w1.serve(t, func(ctx context.Context, p pairOf) (int, error) {
		began <- struct{}{}
		<-free
		return 100, nil
	})
	caller.can(t, "job.add")
	c1 := caller.call(t.Context(), 1, 1)
	got(t, began, "the handler")
	down := make(chan error, 1)
	go func() { down <- w1.Shutdown(t.Context()) }()
	until(t, "it shuts down", func() bool {
		_, err := w1.ExecuteRaw(t.Context(), "nothing", nil)
		return errors.Is(err, commands.ErrChannelDisconnected)
	})
	c2 := caller.call(t.Context(), 2, 2)
	w2.serve(t, add)
	assert.Equal(t, answer{4, nil}, got(t, c2, "the reply of the other"))
	close(free)
	assert.Equal(t, answer{100, nil}, got(t, c1, "the reply of the one that shuts down"))
	require.NoError(t, got(t, down, "the end"))
	until(t, "both are acked", func() bool { return d.acks() == 2 })
}

func TestDurableCommandOfAChild(t *testing.T) {
	t.Parallel()
	d := newDepot()
	caller := d.site(t, "caller")
	root := d.site(t, "root", siteOptions{config: commands.Config{RouterChannel: "fleet"}})
	child, err := commands.NewRegistry(commands.Config{ID: "child", RouterChannel: "root"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = child.Close() })
	toRoot, toChild := pairing.InMemory("root", "child")
	_, err = root.RegisterChannel(t.Context(), toChild)
	require.NoError(t, err)
	link, err := child.RegisterChannel(t.Context(), toRoot)
	require.NoError(t, err)
	<-link.Ready()
	keys := make(chan string, 1)
	require.NoError(t, commands.Register(t.Context(), child, jobAdd, func(ctx context.Context, p pairOf) (int, error) {
		keys <- commands.OnceKey(ctx)
		return add(ctx, p)
	}))
	caller.can(t, "job.add")
	assert.Equal(t, answer{3, nil}, got(t, caller.call(commands.WithOnce(t.Context(), "k"), 1, 2), "the reply"))
	assert.Equal(t, "k", got(t, keys, "the key"))
	assert.Equal(t, 1, d.queued(), "it went through the queue")
}

func TestDurableReplyThatTheBrokerRefuses(t *testing.T) {
	t.Parallel()
	d := newDepot()
	caller, w := d.site(t, "caller"), d.site(t, "w")
	var runs atomic.Int64
	w.serve(t, func(context.Context, pairOf) (int, error) { runs.Add(1); return 123456789, nil })
	caller.can(t, "job.add")
	d.mu.Lock()
	d.refuse = func(_ string, m *message.Message) error {
		if strings.Contains(string(m.Payload), "123456789") {
			return errors.New("too long")
		}
		return nil
	}
	d.mu.Unlock()
	a := got(t, caller.call(t.Context(), 1, 1), "the error")
	require.ErrorIs(t, a.err, commands.ErrInternal)
	assert.ErrorContains(t, a.err, "too long")
	until(t, "it is acked", func() bool { return d.acks() == 1 })
	assert.Equal(t, int64(1), runs.Load())
}

func TestDurableReplyToAProcessThatDied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDepot()
		t.Cleanup(func() { require.NoError(t, d.PubSub.Close()) })
		w, net := d.site(t, "w"), &mute{depot: d}
		caller := d.siteOver(t, net, "caller")
		began, free := make(chan struct{}, 1), make(chan struct{})
		w.serve(t, func(context.Context, pairOf) (int, error) {
			began <- struct{}{}
			<-free
			return 0, nil
		})
		caller.can(t, "job.add")
		ctx, cancel := context.WithCancel(t.Context())
		c := caller.call(ctx, 1, 1)
		got(t, began, "the handler")
		net.dead.Store(true)
		time.Sleep(4 * time.Second)
		assert.Len(t, w.fleet.Members(), 1, "its lease runs on")
		time.Sleep(6 * time.Second)
		require.Empty(t, w.fleet.Members())
		close(free)
		synctest.Wait()
		assert.Equal(t, 1, d.acks(), "the request stays done")
		assert.Equal(t, uint64(1), w.fleet.Stats().Orphaned)
		cancel()
		require.ErrorIs(t, (<-c).err, context.Canceled)
	})
}

// TestDurableReplyToANewcomer: a worker whose topics lag behind its queue answers a process of which it has not heard yet.
func TestDurableReplyToANewcomer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, idle := newDepot(), newDepot()
		t.Cleanup(func() { require.NoError(t, errors.Join(d.PubSub.Close(), idle.PubSub.Close())) })
		late := behind{d, "newcomer", make(chan struct{})}
		w := d.siteBetween(t, d, late, "w")
		w.serve(t, add)
		known := d.site(t, "known", siteOptions{fleet: func(o *fleet.Options) { o.Queue = idle.Queue }}) // takes nothing
		known.serve(t, add)
		time.Sleep(11 * time.Second) // the worker has heard of everybody who is there
		caller := d.site(t, "newcomer")
		caller.can(t, "job.add")
		a := got(t, caller.call(t.Context(), 1, 2), "the reply")
		assert.Equal(t, answer{3, nil}, a)
		assert.Zero(t, w.fleet.Stats().Orphaned)
		assert.Len(t, w.fleet.Members(), 1, "the worker knows the other one only")
		close(late.free)
	})
}

func TestDurableCallOutlastsItsWorkersLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDepot()
		t.Cleanup(func() { require.NoError(t, d.PubSub.Close()) })
		net := &mute{depot: d, topic: ""}
		caller, w := d.site(t, "caller"), d.siteOver(t, net, "w")
		began, free := w.serveHeld(t)
		caller.can(t, "job.add")
		c := caller.call(t.Context(), 1, 2)
		got(t, began, "the handler")
		net.dead.Store(true)
		time.Sleep(10 * time.Second)
		require.Empty(t, caller.fleet.Members(), "it was given up")
		net.dead.Store(false)
		close(free)
		assert.Equal(t, answer{3, nil}, got(t, c, "the reply"))
	})
}

// TestDurableCallTakesNoKey: no order can be kept for it in a queue, so it is refused, and not ignored; also if it comes through
// another registry.
func TestDurableCallTakesNoKey(t *testing.T) {
	t.Parallel()
	d := newDepot()
	caller, w := d.site(t, "caller"), d.site(t, "w")
	w.serve(t, add)
	caller.can(t, "job.add")
	leaf, err := commands.NewRegistry(commands.Config{RouterChannel: "caller"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, leaf.Close()) })
	toLeaf, toCaller := pairing.InMemory("leaf", "caller")
	_, err = caller.RegisterChannel(t.Context(), toLeaf)
	require.NoError(t, err)
	link, err := leaf.RegisterChannel(t.Context(), toCaller)
	require.NoError(t, err)
	<-link.Ready()
	for _, r := range []*commands.Registry{caller.Registry, leaf} {
		_, err := commands.Execute(commands.WithKey(t.Context(), "customer 7"), r, jobAdd, pairOf{1, 2})
		require.ErrorIs(t, err, commands.ErrInvalidRequest)
		require.ErrorContains(t, err, "WithKey")
		sum, err := commands.Execute(t.Context(), r, jobAdd, pairOf{1, 2})
		require.NoError(t, err)
		require.Equal(t, 3, sum)
	}
	require.Equal(t, 2, d.queued(), "what was refused went into no queue")
}

// TestDurableTooLarge: a request that the queue does not take is refused at once, and a reply that the caller's inbox does not take is
// an error at once; neither is executed again and again.
func TestDurableTooLarge(t *testing.T) {
	t.Parallel()
	d := newDepot()
	d.refuse = func(_ string, m *message.Message) error {
		if len(m.Payload) > 4096 {
			return fmt.Errorf("depot: %w: %d bytes", bus.ErrTooLarge, len(m.Payload))
		}
		return nil
	}
	grow := commands.Define[string, string]("job.grow", "", durable)
	caller, w := d.site(t, "caller"), d.site(t, "w")
	var runs atomic.Int64
	require.NoError(t, commands.Register(t.Context(), w.Registry, grow, func(_ context.Context, s string) (string, error) {
		runs.Add(1)
		return strings.Repeat(s, 1000), nil
	}))
	caller.can(t, "job.grow")
	began := time.Now()
	_, err := commands.Execute(t.Context(), caller.Registry, grow, strings.Repeat("x", 5000))
	require.ErrorIs(t, err, commands.ErrInvalidRequest)
	require.ErrorContains(t, err, "bytes")
	_, err = commands.Execute(t.Context(), caller.Registry, grow, "too large")
	require.ErrorIs(t, err, commands.ErrInternal)
	require.ErrorContains(t, err, "bytes")
	require.Less(t, time.Since(began), 2*time.Second, "nothing was tried for a lease")
	got, err := commands.Execute(t.Context(), caller.Registry, grow, "x")
	require.NoError(t, err)
	require.Len(t, got, 1000)
	require.EqualValues(t, 2, runs.Load())
}

// slowQueue takes its time to subscribe.
type slowQueue struct {
	taker
	subscribing chan struct{}
}

func (s slowQueue) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	s.subscribing <- struct{}{}
	<-ctx.Done()
	return nil, fmt.Errorf("subscribe: %w", ctx.Err())
}

// TestDurableShutdownSoonAfterRegister: that a subscription is given up which is not wanted any more is no error.
func TestDurableShutdownSoonAfterRegister(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*site) error{
		"shutdown":   func(s *site) error { return s.Shutdown(context.Background()) },
		"close":      func(s *site) error { return s.Close() },
		"unregister": func(s *site) error { s.Unregister("job.add"); return s.Shutdown(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, log, subscribing := newDepot(), &lines{}, make(chan struct{}, 100)
			s := d.site(t, "w", siteOptions{fleet: func(o *fleet.Options) {
				o.Logger = slog.New(slog.NewTextHandler(log, nil))
				o.Queue = func(string) (message.Subscriber, error) { return slowQueue{taker{d}, subscribing}, nil }
			}})
			s.serve(t, add)
			got(t, subscribing, "the subscription")
			require.NoError(t, end(s))
			<-s.fleet.Done()
			for _, level := range []string{"ERROR", "WARN"} {
				assert.NotContains(t, log.String(), level)
			}
		})
	}
}
