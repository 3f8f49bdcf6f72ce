//go:build unix

package brokers_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

type workerSettings struct {
	URL, Namespace, ID string
	Postgres           string // of replies and effects
}

// serveJobs is a worker that executes durable commands: its settings.
func serveJobs(args []string) error {
	signal.Ignore(syscall.SIGINT)
	var s workerSettings
	if err := json.Unmarshal([]byte(args[0]), &s); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	b, err := brokers.Open(ctx, s.URL, brokers.Options{Namespace: s.Namespace, AckWait: jobAckWait})
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }()
	db, err := sql.Open("pgx", s.Postgres)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	replies, err := brokers.PostgresReplies(ctx, db, brokers.RepliesOptions{Namespace: s.Namespace})
	if err != nil {
		return err
	}
	r, err := commands.NewRegistry(commands.Config{ID: s.ID, Middleware: []message.HandlerMiddleware{replies.Middleware}})
	if err != nil {
		return err
	}
	if err := commands.Register(ctx, r, run, s.run); err != nil {
		return err
	}
	f, err := b.Fleet(ctx, jobFleet(s.ID))
	if err != nil {
		return err
	}
	if _, err := r.RegisterChannel(ctx, f.Channel()); err != nil {
		return err
	}
	fmt.Println("ready")
	untilStdinEnds()
	return r.Shutdown(ctx)
}

func (s *workerSettings) run(ctx context.Context, t task) (string, error) {
	tx, ok := brokers.Tx(ctx)
	if !ok {
		return "", errors.New("no transaction")
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO `+effects(s.Namespace)+` (n, worker) VALUES ($1, $2)`, t.N, s.ID); err != nil {
		return "", err
	}
	if t.HangIn == s.ID {
		fmt.Println("began")
		<-context.Background().Done() // for ever: it is going to be killed
	}
	return s.ID, nil
}

// jobs is a caller in this process, and what workers need to join it.
type jobs struct {
	*commands.Registry
	fleet    *fleet.Fleet
	settings workerSettings
	db       *sql.DB
}

func (k kind) jobs(t *testing.T) *jobs {
	t.Helper()
	return k.jobsAt(t, k.url(t))
}

func (k kind) jobsAt(t *testing.T, url string) *jobs {
	t.Helper()
	j := &jobs{settings: workerSettings{URL: url, Namespace: namespace()}}
	if k.purge != nil {
		t.Cleanup(func() { k.purge(t, j.settings.URL, j.settings.Namespace) })
	}
	b := k.openAt(t, j.settings.URL, brokers.Options{Namespace: j.settings.Namespace, AckWait: jobAckWait})
	j.settings.Postgres = postgresServer.find(t)
	j.db = openEffects(t, j.settings.Postgres, j.settings.Namespace)
	j.Registry, j.fleet = caller(t, b)
	return j
}

func (j *jobs) worker(t *testing.T, id string) *child {
	t.Helper()
	s := j.settings
	s.ID = id
	settings, err := json.Marshal(s)
	require.NoError(t, err)
	return start(t, "jobs", string(settings))
}

func (j *jobs) can(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, j.fleet.Await(ctx, "job.run"))
}

// TestDurableRequestOfAKilledWorkerIsExecutedElsewhere kills the process between the effect and the reply.
func TestDurableRequestOfAKilledWorkerIsExecutedElsewhere(t *testing.T) {
	t.Parallel()
	eachDurable(t, func(t *testing.T, k kind) {
		j := k.jobs(t)
		first := j.worker(t, "first")
		j.can(t)
		type answer struct {
			worker string
			err    error
		}
		answers := make(chan answer, 1)
		go func() {
			by, err := commands.Execute(t.Context(), j.Registry, run, task{1, "first"})
			answers <- answer{by, err}
		}()
		first.says("began")
		first.kill()
		second := j.worker(t, "second")
		assert.Equal(t, answer{"second", nil}, <-answers)
		assert.Equal(t, 1, count(t, j.db, "*", j.settings.Namespace), "what the first has done is undone")
		second.stop()
	})
}

// amid has calls made by so many callers, strikes when a quarter has ended, and checks that in the end each had one effect.
// call returns who has executed it.
func (j *jobs) amid(t *testing.T, calls, callers int, call func(n int) (by string), strike func()) {
	t.Helper()
	var next, done atomic.Int64
	quarter := make(chan struct{})
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for n := int(next.Add(1)); n <= calls; n = int(next.Add(1)) {
				assert.Contains(t, []string{"first", "second"}, call(n))
				if int(done.Add(1)) == calls/4 {
					close(quarter)
				}
			}
		})
	}
	<-quarter
	strike()
	wg.Wait()
	assert.Equal(t, calls, count(t, j.db, "*", j.settings.Namespace), "effects")
	assert.Equal(t, calls, count(t, j.db, "DISTINCT n", j.settings.Namespace), "calls that had one")
}

// TestDurableEffectsEqualCalls kills one of two workers in the midst of calls, and starts it again.
func TestDurableEffectsEqualCalls(t *testing.T) {
	t.Parallel()
	eachDurable(t, func(t *testing.T, k kind) {
		j := k.jobs(t)
		first, second := j.worker(t, "first"), j.worker(t, "second")
		j.can(t)
		j.amid(t, 200, 16, func(n int) string {
			by, err := commands.Execute(t.Context(), j.Registry, run, task{N: n})
			assert.NoError(t, err)
			return by
		}, func() {
			first.kill()
			first = j.worker(t, "first")
		})
		first.stop()
		second.stop()
	})
}

// TestDurableEffectsSurviveTheBroker crashes the broker in the midst of calls. Whoever does not know what became of a call makes it
// again: each has one effect.
func TestDurableEffectsSurviveTheBroker(t *testing.T) {
	t.Parallel()
	for name, begin := range restartable {
		if name == "nats" { // keeps no queues
			continue
		}
		withServer(t, name, begin, func(t *testing.T, server *private) {
			j := kind{}.jobsAt(t, server.url())
			first, second := j.worker(t, "first"), j.worker(t, "second")
			j.can(t)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			var again atomic.Int64
			j.amid(t, 100, 8, func(n int) string {
				once := commands.WithOnce(ctx, fmt.Sprint("call ", n))
				by, err := commands.Execute(once, j.Registry, run, task{N: n})
				for ; err != nil && assert.NoError(t, ctx.Err(), "%v", err); again.Add(1) {
					by, err = commands.Execute(once, j.Registry, run, task{N: n})
				}
				return by
			}, func() {
				server.stop()
				server.start()
			})
			t.Logf("%d calls were made again", again.Load())
			first.stop()
			second.stop()
		})
	}
}
