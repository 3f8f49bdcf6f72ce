//go:build unix

// Package gettingstarted_test runs the programs of docs/getting-started.md as the page says.
package gettingstarted_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	// What the programs are made of, so that go test does not take a result from its cache when that has changed.
	_ "github.com/leatbus/leat/brokers"
	_ "github.com/leatbus/leat/examples/getting-started/shop"
)

// timeLimit is for what hangs.
const timeLimit = 2 * time.Minute

// build compiles one of the programs.
func build(t *testing.T, name string) string {
	t.Helper()
	_, err := os.ReadFile(filepath.Join(name, "main.go")) // for the cache, likewise
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), name)
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./"+name).CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

// nats starts a server in this process.
func nats(t *testing.T) (url string) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	require.True(t, s.ReadyForConnections(timeLimit))
	return s.ClientURL()
}

// output runs a program to its end.
func output(t *testing.T, path string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
	defer cancel()
	c := exec.CommandContext(ctx, path, args...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	require.NoError(t, err)
	return string(out)
}

// start starts a program that ends well when it is interrupted, which happens at the end of the test. It returns when the
// program has written the line, unless that is empty.
func start(t *testing.T, line, path string, args ...string) {
	t.Helper()
	c := exec.Command(path, args...)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	limit := time.AfterFunc(timeLimit, func() { _ = c.Process.Kill() })
	t.Cleanup(func() {
		defer limit.Stop()
		require.NoError(t, c.Process.Signal(syscall.SIGINT))
		assert.NoError(t, c.Wait(), "%v", args)
	})
	if lines := bufio.NewScanner(out); line != "" {
		require.True(t, lines.Scan())
		require.Equal(t, line, lines.Text())
	}
}

func TestOneProcess(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "event: 1170\nprice: 1170 from worker\n", output(t, build(t, "one")))
}

func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	two, url := build(t, "two"), nats(t)
	start(t, "", two, "worker", url)
	assert.Equal(t, "price: 2500 from worker\n", output(t, two, "app", url))
	assert.Equal(t, "price: 2500 from worker\n", output(t, two, "app", url), "the worker takes the next app as well")
}

func TestFleet(t *testing.T) {
	t.Parallel()
	fleet, url := build(t, "fleet"), nats(t)
	start(t, "ready", fleet, "worker-1", url)
	start(t, "ready", fleet, "worker-2", url)
	lines := strings.Split(strings.TrimSpace(output(t, fleet, "app", url)), "\n")
	require.Len(t, lines, 4)
	price := regexp.MustCompile(`^price: (390|780|1170|1560) from worker-[12]$`)
	for _, line := range lines {
		assert.Regexp(t, price, line)
	}
}
