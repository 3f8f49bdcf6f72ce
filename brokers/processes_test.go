//go:build unix

package brokers_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing/fleet"
)

// roles are what this test binary is when it is started with roleVariable in its environment. Each ends with its
// standard input, so that nothing is left when the test is killed.
var roles = map[string]func(args []string) error{
	"worker": serveWork,
	"jobs":   serveJobs,
	"nats":   serveNATS,
	"minder": mind,
}

const roleVariable = "LEAT_TEST_ROLE"

// playRole runs the role that this process was started for, and ends it. It returns where there is none.
func playRole() {
	role := os.Getenv(roleVariable)
	if role == "" {
		return
	}
	if err := roles[role](os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// untilStdinEnds returns when the test has ended or wants this process to.
func untilStdinEnds() { _, _ = io.Copy(io.Discard, os.Stdin) }

// child is a process that a test has started and may do anything to.
type child struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.Closer
	lines *bufio.Scanner
	said  chan string   // what it has said since it was ready, as far as there is room
	ended chan struct{} // closed when it was waited for
	err   error         // of that; read after ended
	pid   int           // of what matters: of a minder's, negative, the whole group
}

// start starts this binary in a role, and returns when it has said that it is ready. It ends with the test.
func start(t testing.TB, role string, args ...string) *child {
	t.Helper()
	c := spawn(t, role, args...)
	t.Cleanup(c.end)
	return c
}

// spawn is start for those who end it themselves.
func spawn(t testing.TB, role string, args ...string) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command(os.Args[0], args...), said: make(chan string, 100), ended: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), roleVariable+"="+role)
	stderr := new(strings.Builder)
	c.cmd.Stderr = stderr
	stdin, err := c.cmd.StdinPipe()
	require.NoError(t, err)
	c.stdin = stdin
	stdout, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	c.lines, c.pid = bufio.NewScanner(stdout), c.cmd.Process.Pid
	for c.lines.Scan() {
		line := c.lines.Text()
		if _, err := fmt.Sscanf(line, "pid %d", &c.pid); err == nil || line != "ready" {
			continue
		}
		go func() {
			defer close(c.ended)
			for c.lines.Scan() { // to its end, which comes before Wait
				select {
				case c.said <- c.lines.Text():
				default:
				}
			}
			c.err = c.cmd.Wait()
		}()
		return c
	}
	_ = c.cmd.Wait()
	t.Fatalf("%s %v does not start: %s", role, args, stderr)
	return nil
}

// signal sends it a signal.
func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	require.NoError(c.t, syscall.Kill(c.pid, s))
}

// kill ends it as nothing else does, and returns when it is gone.
func (c *child) kill() {
	c.t.Helper()
	c.signal(syscall.SIGKILL)
	<-c.ended
}

// says waits until it says that.
func (c *child) says(line string) {
	c.t.Helper()
	select {
	case got := <-c.said:
		require.Equal(c.t, line, got)
	case <-c.ended:
		require.FailNow(c.t, "it has ended", "%v", c.err)
	case <-time.After(time.Minute):
		require.FailNow(c.t, "it says nothing")
	}
}

// stop has it end in good order.
func (c *child) stop() {
	c.t.Helper()
	require.NoError(c.t, c.stdin.Close())
	select {
	case <-c.ended:
		require.NoError(c.t, c.err)
	case <-time.After(time.Minute):
		require.FailNow(c.t, "it does not end")
	}
}

// end ends it if it still runs.
func (c *child) end() {
	_ = c.stdin.Close()
	select {
	case <-c.ended:
	case <-time.After(10 * time.Second): // it is paused, or hangs
		_ = syscall.Kill(c.pid, syscall.SIGKILL)
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
}

// Commands and events of workers.
var (
	who      = commands.Define[int, answer]("who", "Who am I talking to?")
	whoAgain = commands.Define[int, answer]("who.again", "The same, and it may be asked twice", commands.Options{Idempotent: true})
	hold     = commands.Define[string, string]("hold", "Waits for the end of the process")
	retry    = commands.Define[string, string]("hold.again", "Waits for the end of the process, unless somebody has waited before",
		commands.Options{Idempotent: true})
	held = events.Define[holding]("held")
)

type answer struct {
	Worker string `json:"worker"`
	Twice  int    `json:"twice"`
}

type holding struct {
	Worker string `json:"worker"`
	Call   string `json:"call"`
}

// serveWork is a worker of a fleet: URL, namespace, ID and lease.
func serveWork(args []string) error {
	signal.Ignore(syscall.SIGINT)
	lease, err := time.ParseDuration(args[3])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	b, err := brokers.Open(ctx, args[0], brokers.Options{Namespace: args[1], Retention: faultRetention})
	if err != nil {
		return err
	}
	r, err := commands.NewRegistry(commands.Config{ID: args[2], Logger: silent})
	if err != nil {
		return err
	}
	if err := registerWork(ctx, r, args[2]); err != nil {
		return err
	}
	f, err := b.Fleet(ctx, fleet.Options{ID: args[2], Lease: lease, Logger: silent})
	if err != nil {
		return err
	}
	if _, err := r.RegisterChannel(ctx, f.Channel()); err != nil {
		return err
	}
	if err := f.Ready(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	untilStdinEnds()
	return nil
}

func registerWork(ctx context.Context, r *commands.Registry, self string) error {
	tell := func(_ context.Context, n int) (answer, error) { return answer{self, 2 * n}, nil }
	wait := func(ctx context.Context, call string) (string, error) {
		if err := events.Emit(ctx, r.Events(), held, holding{self, call}); err != nil {
			return "", err
		}
		<-ctx.Done()
		return "", ctx.Err()
	}
	// Whoever has heard that another one holds a call answers it.
	var others sync.Map
	if _, err := events.Listen(r.Events(), held, func(_ context.Context, h holding) {
		if h.Worker != self {
			others.Store(h.Call, nil)
		}
	}); err != nil {
		return err
	}
	waitOnce := func(ctx context.Context, call string) (string, error) {
		if _, again := others.Load(call); again {
			return self, nil
		}
		return wait(ctx, call)
	}
	return errors.Join(
		commands.Register(ctx, r, who, tell),
		commands.Register(ctx, r, whoAgain, tell),
		commands.Register(ctx, r, hold, wait),
		commands.Register(ctx, r, retry, waitOnce),
	)
}

// serveNATS is a NATS server with JetStream: port and directory.
func serveNATS(args []string) error {
	var port int
	if _, err := fmt.Sscan(args[0], &port); err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: args[1], NoSigs: true, NoLog: true})
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		return fmt.Errorf("NATS does not come up")
	}
	fmt.Println("ready")
	untilStdinEnds()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

// mind runs another program, and kills it when this process is to end: user ("" for this one), path, arguments.
func mind(args []string) error {
	signal.Ignore(syscall.SIGINT)
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := as(cmd, args[0]); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Println("pid", -cmd.Process.Pid)
	fmt.Println("ready")
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	go func() {
		untilStdinEnds()
		_ = cmd.Process.Signal(syscall.SIGQUIT) // Postgres removes what it shares then
		select {
		case <-ended:
		case <-time.After(3 * time.Second):
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		os.Exit(0)
	}()
	err := <-ended
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it has left: RabbitMQ is a script, whose child serves
	ended <- err
	return err
}
