// Package program builds an example and runs it as a user would.
//
//	func TestMain(m *testing.M) { program.Main(m) }
//
//	result := program.Run(t, program.Build(t), program.Options{})
package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// Time limits are for what hangs. The examples end within seconds, unless the machine is busy.
const (
	timeLimit  = 2 * time.Minute
	buildLimit = 5 * time.Minute
)

// Options says how a program is run. The zero value works.
type Options struct {
	Dir   string   // working directory; default the test's
	Stdin string   // what it reads; default nothing
	Env   []string // KEY=value, added to the test's own
}

// Result is what a user saw.
type Result struct {
	Stdout, Stderr string
	Status         int
}

// Lines returns the lines of standard output.
func (r Result) Lines() []string {
	return strings.Split(strings.TrimSuffix(r.Stdout, "\n"), "\n")
}

var built struct {
	once    sync.Once
	path    string // "" if it does not build
	dir     string // to be removed; written by once
	failure string // of go build
}

// Main runs the tests of an example, removes what Build has built, and ends the process.
func Main(m *testing.M) {
	status := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(status)
}

// Build compiles the main package in the test's directory, once for all tests, and returns the path
// of the binary.
func Build(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), buildLimit)
		defer cancel()
		dir, err := os.MkdirTemp("", "leat-example-")
		if err != nil {
			built.failure = err.Error()
			return
		}
		path := filepath.Join(dir, "example")
		out, err := exec.CommandContext(ctx, "go", "build", "-o", path, ".").CombinedOutput()
		built.dir, built.failure = dir, fmt.Sprintf("%v\n%s", err, out)
		if err == nil {
			built.path = path
		}
	})
	if built.path == "" {
		t.Fatalf("go build: %s", built.failure)
	}
	return built.path
}

// Usage checks that the program prints help of at most 80 columns to standard output, and refuses
// what it does not take.
func Usage(t *testing.T, path, name string) {
	t.Helper()
	for _, help := range []string{"--help", "-help", "-h"} {
		r := Run(t, path, Options{}, help)
		if r.Status != 0 || r.Stderr != "" || !strings.HasPrefix(r.Stdout, "usage: go run ./examples/"+name) {
			t.Errorf("%s %s: status %d\nstdout: %s\nstderr: %s", name, help, r.Status, r.Stdout, r.Stderr)
		}
		for _, line := range r.Lines() {
			if utf8.RuneCountInString(line) > 80 {
				t.Errorf("%s %s: more than 80 columns: %s", name, help, line)
			}
		}
	}
	for _, wrong := range [][]string{{"--nonsense"}, {"-x=1"}, {"one", "two"}} {
		r := Run(t, path, Options{}, wrong...)
		if r.Status != 2 || r.Stdout != "" || !strings.Contains(r.Stderr, "usage: go run ./examples/"+name) {
			t.Errorf("%s %v: status %d\nstdout: %s\nstderr: %s", name, wrong, r.Status, r.Stdout, r.Stderr)
		}
	}
}

// Run runs the program to its end. A program that does not start, or does not
// end, fails the test; one that exits with an error does not.
func Run(t *testing.T, path string, o Options, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
	defer cancel()
	var stdout, stderr bytes.Buffer
	c := exec.CommandContext(ctx, path, args...)
	c.Dir = o.Dir
	c.Env = append(os.Environ(), o.Env...)
	c.Stdin = strings.NewReader(o.Stdin)
	c.Stdout, c.Stderr = &stdout, &stderr
	c.WaitDelay = time.Second
	err := c.Run()
	if exit := (*exec.ExitError)(nil); ctx.Err() != nil || err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v (%v)\nstdout: %s\nstderr: %s", path, err, ctx.Err(), &stdout, &stderr)
	}
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Status: c.ProcessState.ExitCode()}
}
