//go:build unix

package main_test

import (
	"bufio"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/examples/internal/program"
)

var (
	account = regexp.MustCompile(`^sent (\d+) = ok (\d+)((?: \+ [a-z_ ]+ \d+)*)  \(.*p50 .*, p99 .* s\)$`)
	failure = regexp.MustCompile(` \+ ([a-z_ ]+) (\d+)`)
	live    = regexp.MustCompile(`^ *\d+\.\ds +\d+ of 3000 +\d+ calls/s  .*errors: .*  p50 \S+  p99 \S+$`)
	begun   = regexp.MustCompile(`^worker-\d is ready, process (\d+)$`)
)

// addsUp reads the last line, and returns the errors by code.
func addsUp(t *testing.T, line string) (sent int, failed map[string]int) {
	t.Helper()
	m := account.FindStringSubmatch(line)
	require.NotNilf(t, m, "the last line: %s", line)
	sent, _ = strconv.Atoi(m[1])
	sum, _ := strconv.Atoi(m[2])
	failed = make(map[string]int)
	for _, f := range failure.FindAllStringSubmatch(m[3], -1) {
		failed[f[1]], _ = strconv.Atoi(f[2])
		sum += failed[f[1]]
	}
	require.Equal(t, sent, sum)
	return sent, failed
}

func TestEveryCallIsAccountedFor(t *testing.T) {
	t.Parallel()
	r := program.Run(t, program.Build(t), program.Options{}, "-calls", "3000")
	lines := r.Lines()
	require.NotEmpty(t, lines)
	sent, failed := addsUp(t, lines[len(lines)-1])
	assert.Equal(t, 3000, sent)
	delete(failed, "channel_disconnected")
	assert.Empty(t, failed, "nothing fails but what the killed worker had")
	for _, line := range lines[:len(lines)-1] {
		assert.Regexp(t, live, line)
	}
	assert.NotContains(t, r.Stdout, "\x1b", "no colours in a pipe")
	assert.Contains(t, r.Stderr, "worker-2 was killed\nworker-2 is ready")
	assert.Equal(t, 5, strings.Count(r.Stderr, "\n"), r.Stderr)
	assert.Zero(t, r.Status)
	assert.Empty(t, alive(workers(t, r.Stderr)))
}

// However the program ends, its workers end too.
func TestNoWorkerIsLeft(t *testing.T) {
	t.Parallel()
	binary := program.Build(t)
	for name, with := range map[string]syscall.Signal{"ctrl-c": syscall.SIGINT, "terminated": syscall.SIGTERM, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stderr, err := os.CreateTemp(t.TempDir(), "stderr")
			require.NoError(t, err)
			c := exec.Command(binary, "-calls", "1000000")
			c.Stderr = stderr
			out, err := c.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, c.Start())
			lines := bufio.NewScanner(out)
			require.True(t, lines.Scan(), "a live line")
			require.NoError(t, c.Process.Signal(with))
			last := ""
			for lines.Scan() {
				last = lines.Text()
			}
			require.Error(t, c.Wait())
			said, err := os.ReadFile(stderr.Name())
			require.NoError(t, err)
			if with != syscall.SIGKILL {
				addsUp(t, last)
				assert.Contains(t, string(said), "fleet: interrupted")
			}
			pids := workers(t, string(said))
			require.Len(t, pids, 3)
			require.Eventually(t, func() bool { return len(alive(pids)) == 0 }, 10*time.Second, 10*time.Millisecond, "processes are left")
		})
	}
}

// A start that is interrupted leaves no workers either, and the error says what it was.
func TestInterruptedWhileStarting(t *testing.T) {
	t.Parallel()
	c := exec.Command(program.Build(t), "-workers", "8", "-calls", "1000000")
	stderr, err := c.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	lines := bufio.NewScanner(stderr)
	require.True(t, lines.Scan(), "the first worker")
	require.NoError(t, c.Process.Signal(os.Interrupt))
	all := lines.Text() + "\n"
	for lines.Scan() {
		all += lines.Text() + "\n"
	}
	require.Error(t, c.Wait())
	assert.True(t, strings.HasSuffix(all, "fleet: interrupted\n"), all)
	assert.NotContains(t, all, "context canceled")
	pids := workers(t, all)
	require.NotEmpty(t, pids)
	require.Eventually(t, func() bool { return len(alive(pids)) == 0 }, 10*time.Second, 10*time.Millisecond, "processes are left")
}

func TestWhatCannotBe(t *testing.T) {
	t.Parallel()
	binary := program.Build(t)
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"no broker there": {[]string{"nats://127.0.0.1:1"}, "fleet: open broker nats://127.0.0.1:1: "},
		"unknown scheme":  {[]string{"pigeon://home"}, `fleet: open broker pigeon://home: unknown scheme; there are amqp, `},
		"one process":     {[]string{"memory://"}, "fleet: memory stays in one process"},
		"no calls":        {[]string{"-calls", "0"}, "fleet: -calls 0: has to be from 1 to 10000000"},
		"no callers":      {[]string{"-callers", "-1"}, "fleet: -callers -1: has to be from 1 to 10000"},
		"many workers":    {[]string{"-workers", "33"}, "fleet: -workers 33: has to be from 1 to 32"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := program.Run(t, binary, program.Options{}, c.args...)
			assert.Contains(t, r.Stderr, c.says)
			assert.Empty(t, r.Stdout)
			assert.Equal(t, 1, r.Status)
		})
	}
}

// workers returns the processes that were started.
func workers(t *testing.T, stderr string) (pids []int) {
	t.Helper()
	for line := range strings.Lines(stderr) {
		if m := begun.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			pid, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			pids = append(pids, pid)
		}
	}
	return pids
}

// alive returns those that still run.
func alive(pids []int) (left []int) {
	for _, pid := range pids {
		if syscall.Kill(pid, 0) == nil {
			left = append(left, pid)
		}
	}
	return left
}

func TestMain(m *testing.M) { program.Main(m) }

func TestUsage(t *testing.T) {
	t.Parallel()
	program.Usage(t, program.Build(t), "fleet")
}
