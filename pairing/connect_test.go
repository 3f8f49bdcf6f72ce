package pairing_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
)

// process is one side of a pair over an ether, as if it were a process: it can
// be started, killed and stopped.
type process struct {
	self, peer string
	ether      *ether
	options    pairing.JoinOptions
	command    string
	ran        func(string)

	plug     *plug
	registry *commands.Registry
	conn     *pairing.Connection
}

func (p *process) start(t testing.TB) {
	t.Helper()
	r, err := commands.NewRegistry(commands.Config{ID: p.self, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, r.RegisterRaw(t.Context(), bus.Definition{ID: p.command}, func(_ context.Context, req json.RawMessage) (json.RawMessage, error) {
		if p.ran != nil {
			p.ran(string(req))
		}
		return req, nil
	}))
	plugged := &plug{Publisher: p.ether}
	p.registry, p.plug = r, plugged
	p.conn = pairing.Connect(context.Background(), r, func() (*bus.Channel, error) {
		return pairing.Join(plugged, p.ether, p.self, p.peer, p.options), nil
	})
}

// kill ends the process without a word.
func (p *process) kill(t testing.TB) {
	t.Helper()
	p.plug.pull()
	p.stop(t)
}

func (p *process) stop(t testing.TB) {
	t.Helper()
	require.NoError(t, p.conn.Close())
	require.NoError(t, p.registry.Close())
}

func processes(e *ether) (root, worker *process) {
	return &process{self: "root", peer: "worker", ether: e, command: "root.echo"},
		&process{self: "worker", peer: "root", ether: e, command: "worker.echo"}
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// both waits until the two are connected, and makes a call each way.
func both(t testing.TB, d time.Duration, a, b *process) {
	t.Helper()
	ctx := within(t, d)
	for _, way := range [][2]*process{{a, b}, {b, a}} {
		for {
			require.NoError(t, way[0].conn.Ready(ctx), "%s has no link", way[0].self)
			got, err := way[0].registry.ExecuteRaw(ctx, way[1].command, json.RawMessage(`"hello"`))
			if err == nil {
				require.Equal(t, `"hello"`, string(got))
				break
			}
			require.NoError(t, ctx.Err(), "%s calls %s: %v", way[0].self, way[1].self, err)
			time.Sleep(10 * time.Millisecond) // in a synctest bubble: lets the others go on
		}
	}
}

func TestAVanishedPeerIsAClosedLinkAndAReturnedOneAnOpenOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		root, worker := processes(newEther(1, faults{}))
		root.start(t)
		worker.start(t)
		both(t, time.Second, root, worker)
		for range 3 {
			link := root.conn.Link()
			time.Sleep(time.Minute) // idle links live
			require.Same(t, link, root.conn.Link())
			began := time.Now()
			worker.kill(t)
			<-link.Done()
			require.ErrorIs(t, link.Err(), bus.ErrPeerClosed)
			assert.GreaterOrEqual(t, time.Since(began), 4*time.Second)
			assert.LessOrEqual(t, time.Since(began), 6*time.Second)
			_, err := root.registry.ExecuteRaw(t.Context(), "worker.echo", nil)
			require.ErrorIs(t, err, commands.ErrNotFound, "its commands are gone with it")
			time.Sleep(time.Hour)
			worker.start(t)
			both(t, 100*time.Millisecond, root, worker)
		}
		root.stop(t)
		worker.stop(t)
	})
}

func TestACallToAPeerThatVanishesFailsWithinTheLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		root, worker := processes(newEther(1, faults{}))
		worker.ran = func(string) { time.Sleep(time.Minute) }
		root.start(t)
		worker.start(t)
		require.NoError(t, root.conn.Ready(t.Context()))
		began := time.Now()
		failed := make(chan error, 1)
		go func() {
			_, err := root.registry.ExecuteRaw(context.Background(), "worker.echo", json.RawMessage(`1`))
			failed <- err
		}()
		time.Sleep(15 * time.Second)
		require.Empty(t, failed, "a handler that takes its time is no reason to end the link")
		worker.plug.pull()
		require.ErrorIs(t, <-failed, commands.ErrChannelDisconnected)
		require.LessOrEqual(t, time.Since(began), 21*time.Second)
		worker.stop(t)
		root.stop(t)
		time.Sleep(time.Minute) // nobody waits for handlers
	})
}

func TestRestartedSidesMeetAtOnce(t *testing.T) {
	t.Parallel()
	const overlap = "the new one is there before the old one has gone"
	for name, restart := range map[string]func(*testing.T, *process, *process){
		"one is killed":  func(t *testing.T, _, worker *process) { worker.kill(t); worker.start(t) },
		"one is stopped": func(t *testing.T, _, worker *process) { worker.stop(t); worker.start(t) },
		"both are killed": func(t *testing.T, root, worker *process) {
			worker.kill(t)
			root.kill(t)
			worker.start(t)
			root.start(t)
		},
		overlap: func(t *testing.T, _, worker *process) {
			old := *worker
			time.Sleep(time.Millisecond)
			worker.start(t)
			time.Sleep(time.Millisecond)
			old.kill(t)
		},
		"its link is closed": func(t *testing.T, _, worker *process) { require.NoError(t, worker.conn.Link().Close()) },
		"both links are": func(t *testing.T, root, worker *process) {
			var wg sync.WaitGroup
			wg.Go(func() { _ = worker.conn.Link().Close() })
			wg.Go(func() { _ = root.conn.Link().Close() })
			wg.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limit := 2 * time.Second
				if name == overlap {
					// The old one may have begun a session after the new one: that has to lapse.
					limit += 6 * time.Second
				}
				root, worker := processes(newEther(1, faults{keeps: true}))
				root.start(t)
				worker.start(t)
				both(t, time.Second, root, worker)
				time.Sleep(2 * time.Second)
				for range 5 {
					restart(t, root, worker)
					time.Sleep(time.Microsecond)
					both(t, limit, root, worker)
				}
				a, b := root.conn.Link(), worker.conn.Link()
				time.Sleep(time.Hour)
				require.Same(t, a, root.conn.Link(), "and they stay together")
				require.Same(t, b, worker.conn.Link())
				root.stop(t)
				worker.stop(t)
			})
		})
	}
}

// Everything that was ever sent comes again, in any order, while a link is up:
// it changes nothing.
func TestWhatEarlierLivesHaveSentChangesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEther(1, faults{})
		root, worker := processes(e)
		var runs atomic.Int64
		worker.ran = func(string) { runs.Add(1) }
		var heard atomic.Int64
		for life := range 5 {
			root.start(t)
			worker.start(t)
			both(t, time.Second, root, worker)
			_, err := worker.registry.Events().ListenRaw("*", func(context.Context, string, json.RawMessage) { heard.Add(1) })
			require.NoError(t, err)
			require.NoError(t, root.registry.Events().EmitRaw(t.Context(), "e", nil))
			require.NoError(t, root.registry.Events().Flush(t.Context()))
			time.Sleep(time.Millisecond)
			ran, had := runs.Load(), heard.Load()
			a, b := root.conn.Link(), worker.conn.Link()
			for i, total := 0, e.published(); i < 4*total; i++ {
				e.again(rand.IntN(total))
			}
			time.Sleep(time.Minute)
			require.Same(t, a, root.conn.Link())
			require.Same(t, b, worker.conn.Link())
			require.NoError(t, a.Err())
			require.Equal(t, ran, runs.Load(), "a redelivered request runs once")
			require.Equal(t, had, heard.Load(), "a redelivered event arrives once")
			if life > 0 {
				require.Positive(t, a.Stats().Stale)
			}
			if life%2 == 0 {
				worker.kill(t)
				root.stop(t)
			} else {
				root.kill(t)
				worker.stop(t)
			}
		}
	})
}

// A process that stands still for longer than the lease: to the other it is
// gone, and it is back when it goes on. What it had been asked meanwhile is not run.
func TestAPausedPeerComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEther(1, faults{})
		root, worker := processes(e)
		root.start(t)
		worker.start(t)
		both(t, time.Second, root, worker)
		link := root.conn.Link()
		e.setCut(true)
		began := time.Now()
		_, err := root.registry.ExecuteRaw(t.Context(), "worker.echo", nil)
		require.ErrorIs(t, err, commands.ErrChannelDisconnected)
		require.LessOrEqual(t, time.Since(began), 6*time.Second)
		<-link.Done()
		time.Sleep(time.Minute)
		published := e.published()
		e.setCut(false)
		for i := range published { // the broker had it all
			e.again(i)
		}
		both(t, 10*time.Second, root, worker)
		root.stop(t)
		worker.stop(t)
	})
}

// Two sides that come, go, vanish and close each other's links over a transport
// that loses, duplicates, delays and reorders: once it works again they find
// each other, and stay together. No request ever runs twice.
func TestTwoSidesConverge(t *testing.T) {
	t.Parallel()
	seeds := 60
	if testing.Short() {
		seeds = 20
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { converge(t, seed) })
		})
	}
}

func converge(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	bad := faults{drop: r.Float64() * 0.5, twice: r.Float64() * 0.3, late: r.Float64(), delay: time.Duration(1 + r.Int64N(int64(5*time.Second))), keeps: r.IntN(2) == 0}
	e := newEther(seed, bad)
	root, worker := processes(e)
	options := []pairing.JoinOptions{{}, {Codec: bus.JSON}}[r.IntN(2)]
	root.options, worker.options = options, options
	root.options.Heartbeat = []time.Duration{0, time.Second, 5 * time.Second}[r.IntN(3)]
	var mu sync.Mutex
	runs := map[string]int{}
	count := func(req string) {
		mu.Lock()
		defer mu.Unlock()
		runs[req]++
	}
	root.ran, worker.ran = count, count
	sides := []*process{root, worker}
	root.start(t)
	worker.start(t)
	var calls sync.WaitGroup
	for i := range 60 {
		side, other := sides[i%2], sides[1-i%2]
		switch r.IntN(8) {
		case 0:
			side.kill(t)
			time.Sleep(time.Duration(r.Int64N(int64(10 * time.Second))))
			side.start(t)
		case 1:
			side.stop(t)
			side.start(t)
		case 2:
			if l := side.conn.Link(); l != nil {
				_ = l.Close()
			}
		case 3:
			e.setCut(r.IntN(3) == 0)
		default:
			registry := side.registry
			calls.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				req := json.RawMessage(fmt.Sprintf(`"%d"`, i))
				if got, err := registry.ExecuteRaw(ctx, other.command, req); err == nil && string(got) != string(req) {
					t.Errorf("asked %s, got %s", req, got)
				}
			})
		}
		time.Sleep(time.Duration(r.Int64N(int64(3 * time.Second))))
	}
	e.setCut(false)
	e.set(faults{})
	both(t, time.Minute, root, worker)
	calls.Wait()
	a, b := root.conn.Link(), worker.conn.Link()
	time.Sleep(10 * time.Minute)
	require.Same(t, a, root.conn.Link(), "they stay together: %v", root.conn.Stats().LastError)
	require.Same(t, b, worker.conn.Link(), "they stay together: %v", worker.conn.Stats().LastError)
	mu.Lock()
	for req, n := range runs {
		if n > 1 && req != `"hello"` {
			t.Errorf("request %s ran %d times", req, n)
		}
	}
	mu.Unlock()
	root.stop(t)
	worker.stop(t)
}

// attacher is a registry that fails as it is told.
type attacher func(context.Context, *bus.Channel) (*bus.Link, error)

func (a attacher) RegisterChannel(ctx context.Context, ch *bus.Channel) (*bus.Link, error) {
	return a(ctx, ch)
}

func TestConnectTriesAgainAndAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Duration
		began := time.Now()
		broken := errors.New("broken")
		var closed int
		c := pairing.Connect(t.Context(), attacher(func(context.Context, *bus.Channel) (*bus.Link, error) { return nil, broken }), func() (*bus.Channel, error) {
			tries = append(tries, time.Since(began))
			switch len(tries) {
			case 1:
				return nil, fmt.Errorf("no broker: %w", bus.ErrClosed) // of the Pub/Sub, not of the registry
			case 2:
				panic("made a mistake")
			}
			return &bus.Channel{ID: "x", Close: func() error { closed++; return nil }}, nil
		})
		synctest.Wait()
		require.ErrorContains(t, c.Stats().LastError, "no broker")
		time.Sleep(150 * time.Millisecond)
		require.ErrorContains(t, c.Stats().LastError, "made a mistake")
		time.Sleep(time.Minute)
		require.ErrorIs(t, c.Stats().LastError, broken)
		require.Nil(t, c.Link())
		require.ErrorIs(t, c.Ready(within(t, time.Second)), context.DeadlineExceeded)
		require.NoError(t, c.Err())
		require.NoError(t, c.Close())
		require.NoError(t, c.Close())
		require.ErrorIs(t, c.Err(), bus.ErrClosed)
		require.ErrorIs(t, c.Ready(t.Context()), bus.ErrClosed)
		require.Zero(t, tries[0])
		for i := 1; i < len(tries); i++ {
			longest := min(5*time.Second, 100*time.Millisecond<<(i-1))
			pause := tries[i] - tries[i-1]
			require.GreaterOrEqual(t, pause, longest/2)
			require.LessOrEqual(t, pause, longest)
		}
		require.Equal(t, len(tries)-2, closed, "what could not be attached is closed")
		require.EqualValues(t, len(tries), c.Stats().Failed)
	})
}

func TestConnectEndsWhenItMust(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		do   func(*process, context.CancelCauseFunc)
		want error
	}{
		"close":               {func(p *process, _ context.CancelCauseFunc) { _ = p.conn.Close() }, bus.ErrClosed},
		"ctx":                 {func(_ *process, cancel context.CancelCauseFunc) { cancel(nil) }, context.Canceled},
		"ctx, with a cause":   {func(_ *process, cancel context.CancelCauseFunc) { cancel(errTired) }, errTired},
		"the registry's end":  {func(p *process, _ context.CancelCauseFunc) { _ = p.registry.Close() }, bus.ErrClosed},
		"registry's shutdown": {func(p *process, _ context.CancelCauseFunc) { _ = p.registry.Shutdown(context.Background()) }, bus.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := newEther(1, faults{})
				root, worker := processes(e)
				worker.start(t)
				ctx, cancel := context.WithCancelCause(context.Background())
				defer cancel(nil)
				r, err := commands.NewRegistry(commands.Config{ID: "root", Logger: slog.New(slog.DiscardHandler)})
				require.NoError(t, err)
				root.registry = r
				root.conn = pairing.Connect(ctx, r, func() (*bus.Channel, error) { return pairing.Join(e, e, "root", "worker"), nil })
				require.NoError(t, root.conn.Ready(t.Context()))
				link := root.conn.Link()
				tc.do(root, cancel)
				<-root.conn.Done()
				<-link.Done()
				require.ErrorIs(t, root.conn.Err(), tc.want)
				require.Nil(t, root.conn.Link())
				require.NoError(t, root.conn.Close())
				require.NoError(t, r.Close())
				worker.stop(t)
			})
		})
	}
}

var errTired = errors.New("tired")

func TestConnectRefusesWhatNoRegistryTakes(t *testing.T) {
	t.Parallel()
	g := goChannel(t)
	for name, ch := range map[string]*bus.Channel{"invalid": pairing.Join(g, g, "a", "a"), "nil": nil} {
		c := pairing.Connect(t.Context(), registry(t, "a", ""), func() (*bus.Channel, error) { return ch, nil })
		<-c.Done()
		require.ErrorIs(t, c.Err(), bus.ErrInvalidChannel, name)
	}
	require.Panics(t, func() { pairing.Connect(t.Context(), nil, func() (*bus.Channel, error) { return nil, nil }) })
	require.Panics(t, func() { pairing.Connect(t.Context(), registry(t, "a", ""), nil) })
}

// Close may come from anywhere at any time, from inbound middleware too.
func TestConnectionCloseRaces(t *testing.T) {
	t.Parallel()
	for range 20 {
		began := time.Now()
		e := newEther(1, faults{})
		var conn atomic.Pointer[pairing.Connection]
		closing := func(h message.HandlerFunc) message.HandlerFunc {
			return func(m *message.Message) ([]*message.Message, error) {
				if c := conn.Load(); c != nil {
					_ = c.Close()
				}
				return h(m)
			}
		}
		b := bus.New(bus.Options{Inbound: []message.HandlerMiddleware{closing}, CloseTimeout: time.Minute, Logger: slog.New(slog.DiscardHandler)})
		c := pairing.Connect(t.Context(), busRegistry{b}, func() (*bus.Channel, error) { return pairing.Join(e, e, "a", "b"), nil })
		other := registry(t, "b", "")
		toA := pairing.Connect(t.Context(), other, func() (*bus.Channel, error) { return pairing.Join(e, e, "b", "a"), nil })
		conn.Store(c)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _ = c.Close() })
			wg.Go(func() { _ = toA.Close() })
			wg.Go(func() { _ = c.Ready(t.Context()) })
			wg.Go(func() { c.Stats(); c.Link() })
		}
		wg.Wait()
		<-c.Done()
		<-toA.Done()
		require.NoError(t, b.Close())
		require.Less(t, time.Since(began), 30*time.Second, "somebody waited for himself")
	}
}

type busRegistry struct{ b *bus.Bus }

func (r busRegistry) RegisterChannel(ctx context.Context, ch *bus.Channel) (*bus.Link, error) {
	return r.b.Attach(ctx, ch)
}

// A worker that is there long before its root: what was registered, and what
// its own children have registered, is known to the root when that comes, and again after it
// has gone and come back.
func TestARootThatComesLateKnowsEverything(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEther(1, faults{})
		quiet := slog.New(slog.DiscardHandler)
		worker, err := commands.NewRegistry(commands.Config{ID: "worker", RouterChannel: "root", Logger: quiet})
		require.NoError(t, err)
		leaf, err := commands.NewRegistry(commands.Config{ID: "leaf", RouterChannel: "worker", Logger: quiet})
		require.NoError(t, err)
		toLeaf, toWorker := pairing.InMemory("leaf", "worker")
		_, err = worker.RegisterChannel(t.Context(), toLeaf)
		require.NoError(t, err)
		up, err := leaf.RegisterChannel(t.Context(), toWorker)
		require.NoError(t, err)
		<-up.Ready()
		for _, r := range []*commands.Registry{worker, leaf} {
			require.NoError(t, r.RegisterRaw(t.Context(), bus.Definition{ID: r.ID() + ".id"}, func(context.Context, json.RawMessage) (json.RawMessage, error) {
				return json.RawMessage(`"` + r.ID() + `"`), nil
			}))
		}
		conn := pairing.Connect(context.Background(), worker, func() (*bus.Channel, error) { return pairing.Join(e, e, "worker", "root"), nil })
		root, _ := processes(e)
		for range 3 {
			time.Sleep(5 * time.Minute) // longer than any request waits
			root.start(t)
			require.NoError(t, root.conn.Ready(t.Context()))
			require.NoError(t, conn.Ready(t.Context()))
			time.Sleep(time.Second)
			for _, id := range []string{"worker", "leaf"} {
				got, err := root.registry.ExecuteRaw(t.Context(), id+".id", nil)
				require.NoError(t, err)
				require.Equal(t, `"`+id+`"`, string(got))
			}
			root.kill(t)
		}
		require.NoError(t, conn.Close())
		require.NoError(t, worker.Close())
		require.NoError(t, leaf.Close())
	})
}
