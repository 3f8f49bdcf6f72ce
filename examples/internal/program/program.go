// Package program builds an example and runs it as a user would.
//
//	result := program.Run(t, program.Build(t, "."), program.Options{})
package program

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// timeLimit is for a program that hangs: the examples end within a second.
const timeLimit = 30 * time.Second

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

// Build compiles the main package in dir, and returns the path of the binary,
// which goes with the test.
func Build(t *testing.T, dir string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "example")
	if r := Run(t, "go", Options{Dir: dir}, "build", "-o", binary, "."); r.Status != 0 {
		t.Fatalf("go build in %s: %s", dir, r.Stderr)
	}
	return binary
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
