package prompt_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/examples/prompt"
)

func newRegistry(t *testing.T) *commands.Registry {
	t.Helper()
	r, err := commands.NewRegistry(commands.Config{ID: "app"})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return r
}

// run pipes lines to a prompt on a registry without commands.
func run(t *testing.T, lines string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	p := prompt.New(prompt.Options{In: strings.NewReader(lines), Out: &out, Err: &errs, Greeting: "hello"})
	err = p.Run(t.Context(), newRegistry(t))
	return out.String(), errs.String(), err
}

func TestRunOverAPipe(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		lines, stdout, stderr string
		failed                bool
	}{
		"end of input":    {lines: "", stdout: ""},
		"quit":            {lines: "quit\nnonsense\n"},
		"no commands":     {lines: "list", stdout: "#  ID  DESCRIPTION  REQUEST  RESPONSE  WHERE\n"},
		"nothing to pick": {lines: "call\n1\n", stderr: "error: line 1: no such command: \"1\"\n  try: list\n", failed: true},
		"an event":        {lines: "listen >\nemit a..b\nemit a.b 1\n", stdout: "listening to >\nevent a.b 1\nemitted a.b\n", stderr: "error: line 2: ", failed: true},
		"listening twice": {lines: "listen a\nlisten a\n", stdout: "listening to a\nalready listening to a\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, err := run(t, test.lines)
			assert.Equal(t, test.stdout, stdout)
			assert.Contains(t, stderr, test.stderr)
			assert.Equal(t, test.failed, errors.Is(err, prompt.ErrFailed), err)
		})
	}
}

func TestLineTooLong(t *testing.T) {
	t.Parallel()
	_, _, err := run(t, "# a comment\n"+strings.Repeat("a", 1<<20+1))
	assert.EqualError(t, err, "read line 2: bufio.Scanner: token too long")
}

// A prompt leaves nothing behind in a registry that lives on.
func TestRunClosesItsListeners(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	var out bytes.Buffer
	p := prompt.New(prompt.Options{In: strings.NewReader("listen a.*\nlisten >\n"), Out: &out, Err: io.Discard})
	require.NoError(t, p.Run(t.Context(), r))
	require.NoError(t, r.Events().EmitRaw(t.Context(), "a.b", nil))
	require.NoError(t, r.Events().Flush(t.Context()))
	assert.Zero(t, r.Events().Stats().Listeners)
	assert.Equal(t, "listening to a.*\nlistening to >\n", out.String())
}

// A column for each registry.
func TestStatsOfATree(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := prompt.New(prompt.Options{In: strings.NewReader("stats"), Out: &out})
	require.NoError(t, p.Run(t.Context(), newRegistry(t), newRegistry(t), newRegistry(t)))
	assert.Regexp(t, `^ +app +app +app\ncommands served here +0 +0 +0\n`, out.String())
}

// Nothing is waited for when the program is told to end.
func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	in, typing, err := os.Pipe()
	require.NoError(t, err)
	defer in.Close()
	defer typing.Close()
	cause := errors.New("told to")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	p := prompt.New(prompt.Options{In: in, Out: io.Discard})
	r := newRegistry(t)
	go func() { ended <- p.Run(ctx, r) }()
	cancel(cause)
	assert.Equal(t, cause, <-ended)
}

// An error repeats no more of a line than fits one.
func TestLongNonsense(t *testing.T) {
	t.Parallel()
	for _, line := range []string{strings.Repeat("é", 5000), "call " + strings.Repeat("x", 5000), "help " + strings.Repeat("x", 5000), "emit a " + strings.Repeat("x", 5000)} {
		_, stderr, err := run(t, line)
		require.ErrorIs(t, err, prompt.ErrFailed)
		first, _, _ := strings.Cut(stderr, "\n")
		assert.Less(t, len(first), 200, first)
	}
}
