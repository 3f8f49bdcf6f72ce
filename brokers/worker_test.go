package brokers_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

// The test binary is a worker process when it finds its settings in the environment.
const workerEnv = "LEAT_TEST_WORKER_PROCESS"

type workerSettings struct {
	URL, Namespace, ID string
	Postgres           string // of replies and effects
}

type task struct {
	N      int
	HangIn string // the process that does not come back from it
}

var run = commands.Define[task, string]("job.run", "", commands.Options{Durable: true, TTL: time.Minute})

const (
	jobAckWait = 3 * time.Second
	jobLease   = 2 * time.Second
)

// work is a worker's main. It ends when its standard input does.
func work(settings string) int {
	var s workerSettings
	err := json.Unmarshal([]byte(settings), &s)
	if err == nil {
		err = s.serve()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (s *workerSettings) serve() error {
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
	f, err := pairing.NewFleet(ctx, b.Publisher(), b.Subscriber(), jobFleet(b, s.ID))
	if err != nil {
		return err
	}
	if _, err := r.RegisterChannel(ctx, f.Channel()); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
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

func effects(namespace string) string { return `"` + namespace + `_effects"` }

func jobFleet(b *brokers.Broker, id string) pairing.FleetOptions {
	return pairing.FleetOptions{Namespace: "jobs", ID: id, Topic: b.Topic, Queue: b.Queue, Lease: jobLease,
		Logger: slog.New(slog.DiscardHandler)}
}

// worker is a process of its own.
type worker struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines chan string
	ended chan struct{}
	err   error // read after ended
}

func startWorker(t *testing.T, s workerSettings) *worker {
	t.Helper()
	settings, err := json.Marshal(s)
	require.NoError(t, err)
	w := &worker{cmd: exec.Command(os.Args[0]), lines: make(chan string, 100), ended: make(chan struct{})}
	w.cmd.Env = append(os.Environ(), workerEnv+"="+string(settings))
	w.cmd.Stderr = os.Stderr
	w.stdin, err = w.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := w.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, w.cmd.Start())
	go func() {
		defer close(w.ended)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			w.lines <- strings.TrimSpace(lines.Text())
		}
		w.err = w.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill()
		<-w.ended
	})
	return w
}

// kill is SIGKILL.
func (w *worker) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, w.cmd.Process.Kill())
	<-w.ended
}

// stop ends the process in good order.
func (w *worker) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, w.stdin.Close())
	select {
	case <-w.ended:
		require.NoError(t, w.err)
	case <-time.After(time.Minute):
		require.FailNow(t, "the worker does not end")
	}
}

func (w *worker) says(t *testing.T, line string) {
	t.Helper()
	select {
	case got := <-w.lines:
		require.Equal(t, line, got)
	case <-w.ended:
		require.FailNow(t, "the worker has ended", "%v", w.err)
	case <-time.After(time.Minute):
		require.FailNow(t, "the worker says nothing")
	}
}
