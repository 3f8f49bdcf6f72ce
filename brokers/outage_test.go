//go:build unix

package brokers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/fleet"
)

// restartable are the brokers that a test can have for itself.
var restartable = map[string]func(testing.TB) *private{
	"nats":      func(t testing.TB) *private { return privateNATS(t, "nats") },
	"jetstream": func(t testing.TB) *private { return privateNATS(t, "jetstream") },
	"redis":     func(t testing.TB) *private { return startRedis(t) },
	"postgres":  func(t testing.TB) *private { return startPostgres(t) },
	"amqp":      func(t testing.TB) *private { return startRabbit(t) },
}

// restarts runs a test against two connections to each of them.
func restarts(t *testing.T, test func(t *testing.T, server *private, a, b *brokers.Broker)) {
	t.Parallel()
	for name, begin := range restartable {
		withServer(t, name, begin, func(t *testing.T, server *private) {
			o := brokers.Options{Namespace: "restart"}
			test(t, server, kind{}.openAt(t, server.url(), o), kind{}.openAt(t, server.url(), o))
		})
	}
}

// withServer runs a test that restarts a server of its own.
func withServer(t *testing.T, name string, begin func(testing.TB) *private, test func(t *testing.T, server *private)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		test(t, begin(t))
	})
}

// crashAndReturn ends the server without a warning, and starts it again once somebody has noticed.
func crashAndReturn(t *testing.T, server *private, noticed func() bool) {
	t.Helper()
	server.stop()
	require.Eventually(t, noticed, time.Minute, 5*time.Millisecond, "nobody notices that the broker is gone")
	server.start()
}

// A pair whose broker crashes comes back by itself, with its commands, and every call ends meanwhile.
func TestLinkSurvivesTheBroker(t *testing.T) {
	restarts(t, func(t *testing.T, server *private, a, b *brokers.Broker) {
		worker := registry(t, commands.Config{ID: "worker"})
		require.NoError(t, registerWho(t, worker))
		caller := registry(t, commands.Config{ID: "caller", RouterChannel: "worker"})
		o := pairing.JoinOptions{Heartbeat: faultLease / 3}
		toCaller := pairing.Connect(t.Context(), worker, func() (*bus.Channel, error) { return b.Join("worker", "caller", o), nil })
		toWorker := pairing.Connect(t.Context(), caller, func() (*bus.Channel, error) { return a.Join("caller", "worker", o), nil })
		t.Cleanup(func() {
			require.NoError(t, errors.Join(toWorker.Close(), toCaller.Close()))
		})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		require.NoError(t, toWorker.Ready(ctx))

		load := startLoad(t, caller, 8, who, whoAgain)
		load.more("worker")
		out := publishAlways(t, a, "canary")
		crashAndReturn(t, server, func() bool { return out.failures() > 0 })
		load.more("worker")
		load.settle(callTime + time.Second)
	})
}

// A fleet whose broker crashes comes back by itself, and every call ends meanwhile. Events that were emitted arrive once and in
// order; where the broker keeps what it has confirmed, all of them do.
func TestFleetSurvivesTheBroker(t *testing.T) {
	restarts(t, func(t *testing.T, server *private, a, b *brokers.Broker) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // RabbitMQ alone takes more than one to come back, on a busy machine
		defer cancel()
		lease := time.Duration(0)
		if a.Guarantees().Durable { // what waits is given up after a lease, and a busy machine takes up to three minutes to start a server
			lease = 5 * time.Minute
		}
		worker, _ := process(t, b, fleet.Options{ID: "worker", Lease: lease})
		require.NoError(t, registerWho(t, worker))
		caller, f := process(t, a, fleet.Options{ID: "caller", Lease: lease})
		require.NoError(t, f.Await(ctx, who.ID(), whoAgain.ID()))
		heard := make(chan int, 1<<16)
		ticks := events.Define[int]("tick")
		var last atomic.Int64
		_, err := events.Listen(worker.Events(), ticks, func(_ context.Context, n int) {
			heard <- n
			last.Store(int64(n))
		})
		require.NoError(t, err)

		load := startLoad(t, caller, 8, who, whoAgain)
		load.more("worker")
		emitted, stop := emitAlways(t, caller, ticks)
		out := publishAlways(t, a, "canary")
		crashAndReturn(t, server, func() bool { return out.failures() > 0 })
		before := last.Load()
		load.more("worker")
		require.Eventually(t, func() bool { return last.Load() > before }, 4*time.Minute, time.Millisecond, "events come again")
		stop()
		load.settle(callTime + time.Second)

		require.NoError(t, caller.Events().Flush(ctx))
		require.NoError(t, worker.Events().Flush(ctx))
		close(heard)
		var got []int
		for n := range heard {
			got = append(got, n)
		}
		require.IsIncreasing(t, got, "once, and in order")
		require.Equal(t, emitted(), got[len(got)-1]+1, "the last one is there, behind the crash")
		if a.Guarantees().Durable {
			require.Equal(t, emitted(), len(got), "none is lost")
		}
	})
}

// A NATS server that has stopped reading holds up those who publish, but not those who ask not to be.
func TestNATSDoesNotHoldUpWhoPublishesAtOnce(t *testing.T) {
	t.Parallel()
	server := privateNATS(t, "nats")
	b := kind{}.openAt(t, server.url(), brokers.Options{Namespace: "stuck"})
	publisher := b.Publisher().(interface {
		message.Publisher
		PublishAtOnce(topic string, messages ...*message.Message) error
		MaxBytes(topic string) int
	})
	require.NoError(t, publisher.PublishAtOnce(b.Topic("lone"), text("x")))

	server.child.signal(syscall.SIGSTOP)
	var filled atomic.Int64
	var filler sync.WaitGroup
	filler.Go(func() {
		for publisher.Publish(b.Topic("fill"), text(strings.Repeat("x", 1<<19))) == nil {
			filled.Add(1)
		}
	})
	before := int64(-1)
	require.Eventually(t, func() bool {
		was := before
		before = filled.Load()
		return before == was
	}, patience, 200*time.Millisecond)
	returned := make(chan error, 1)
	go func() {
		if limit := publisher.MaxBytes(b.Topic("lone")); limit != 1<<20 {
			t.Errorf("MaxBytes: %d", limit)
		}
		returned <- publisher.PublishAtOnce(b.Topic("lone"), text("x"))
	}()
	select {
	case err := <-returned:
		require.Error(t, err)
	case <-time.After(10 * time.Second):
		t.Error("it waits")
	}
	server.stop()
	filler.Wait()
}

// What a broker has confirmed is not lost when it crashes: each subscription gets it, behind the crash, in order.
func TestConfirmedIsKept(t *testing.T) {
	restarts(t, func(t *testing.T, server *private, a, b *brokers.Broker) {
		if !a.Guarantees().Resumes {
			require.False(t, a.Guarantees().Durable) // NATS core promises nothing of that kind
			return
		}
		topic := b.Topic("kept")
		in, err := b.Subscriber().Subscribe(t.Context(), topic)
		require.NoError(t, err)
		var got []string
		read := func() {
			select {
			case m := <-in:
				m.Ack()
				if n := string(m.Payload); !slices.Contains(got, n) { // what was not confirmed may come twice
					got = append(got, n)
				}
			case <-time.After(time.Minute):
				require.Fail(t, "nothing comes any more", "%d have come", len(got))
			}
		}
		out := publishAlways(t, a, "kept")
		read()
		crashAndReturn(t, server, func() bool { return out.failures() > 0 })
		before := out.confirmedSoFar()
		require.Eventually(t, func() bool { return out.confirmedSoFar() > before+10 }, time.Minute, 5*time.Millisecond)
		confirmed := out.stop()
		for len(got) == 0 || got[len(got)-1] != confirmed[len(confirmed)-1] {
			read()
		}
		kept := slices.DeleteFunc(slices.Clone(got), func(n string) bool { return !slices.Contains(confirmed, n) })
		require.Equal(t, confirmed, kept)
		t.Logf("%d confirmed, %d failed, %d came", len(confirmed), out.failures(), len(got))
	})
}

// A subscription and a group, and what waits for them, outlive the broker.
func TestSubscriptionsOutliveTheBroker(t *testing.T) {
	restarts(t, func(t *testing.T, server *private, b, _ *brokers.Broker) {
		topic, work := b.Topic("events"), b.Topic("work")
		in := subscribe(t, b, topic)
		durable := b.Guarantees().Durable
		if durable {
			taken, leave := queue(t, b, "g", work)
			publish(t, b, work, "handled")()
			require.Equal(t, "handled", take(t, taken))
			leave()
			closes(t, taken, "the group's subscription")
			publish(t, b, work, numbers(10)...)()
		}
		publish(t, b, topic, "before")()
		require.Equal(t, "before", take(t, in))
		server.stop()
		server.start()
		require.Eventually(t, func() bool { return b.Publisher().Publish(topic, text("after")) == nil }, patience, 10*time.Millisecond)
		if b.Guarantees().Resumes {
			got := take(t, in)
			if got == "before" { // the broker did not hear of the ack
				got = take(t, in)
			}
			require.Equal(t, "after", got, "a message that the broker has confirmed")
		} else {
			comesBack(t, b, topic, in)
		}
		if durable {
			taken, _ := queue(t, b, "g", work)
			for _, want := range numbers(10) {
				require.Equal(t, want, take(t, taken))
			}
		}
	})
}

func registerWho(t testing.TB, r *commands.Registry) error {
	tell := func(_ context.Context, n int) (answer, error) { return answer{r.ID(), 2 * n}, nil }
	return errors.Join(commands.Register(t.Context(), r, who, tell), commands.Register(t.Context(), r, whoAgain, tell))
}

// emitAlways emits 0, 1, 2 … until it is stopped, and tells how many.
func emitAlways(t testing.TB, r *commands.Registry, e events.Event[int]) (emitted func() int, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	n := 0
	ended.Go(func() {
		pace := time.NewTicker(5 * time.Millisecond)
		defer pace.Stop()
		for ; ctx.Err() == nil; n++ {
			if err := events.Emit(context.Background(), r.Events(), e, n); err != nil {
				t.Errorf("emit: %v", err)
				return
			}
			<-pace.C
		}
	})
	stop = func() {
		cancel()
		ended.Wait()
	}
	t.Cleanup(stop)
	return func() int { stop(); return n }, stop
}

// publications is a publisher that never stops, and knows what the broker has confirmed.
type publications struct {
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu        sync.Mutex
	confirmed []string // guarded by mu
	failed    int      // guarded by mu
}

func publishAlways(t testing.TB, b *brokers.Broker, topic string) *publications {
	ctx, cancel := context.WithCancel(context.Background())
	p := &publications{cancel: cancel}
	topic = b.Topic(topic)
	p.ended.Go(func() {
		pace := time.NewTicker(5 * time.Millisecond)
		defer pace.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			name := fmt.Sprint(n)
			err := b.Publisher().Publish(topic, message.NewMessage(uuid.NewString(), []byte(name)))
			p.mu.Lock()
			if err == nil {
				p.confirmed = append(p.confirmed, name)
			} else {
				p.failed++
			}
			p.mu.Unlock()
			<-pace.C
		}
	})
	t.Cleanup(func() { p.stop() })
	return p
}

func (p *publications) failures() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

func (p *publications) confirmedSoFar() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.confirmed)
}

// stop ends it, and returns what was confirmed, in order.
func (p *publications) stop() []string {
	p.cancel()
	p.ended.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.confirmed
}
