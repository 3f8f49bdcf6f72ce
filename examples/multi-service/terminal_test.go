//go:build unix

package main_test

import (
	"bufio"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/examples/internal/program"
)

// SIGTERM at the prompt ends the program in good order.
func TestTerminated(t *testing.T) {
	t.Parallel()
	c := exec.Command(program.Build(t))
	c.Env = append(c.Environ(), "TERM=xterm", "NO_COLOR=1")
	tty, err := pty.Start(c)
	require.NoError(t, err)
	defer tty.Close()
	shown := bufio.NewReader(tty)
	for text := ""; !strings.HasSuffix(text, "root> "); {
		b, err := shown.ReadByte()
		require.NoError(t, err, text)
		text += string(b)
	}
	require.NoError(t, c.Process.Signal(syscall.SIGTERM))
	rest, _ := io.ReadAll(shown) // which ends with an error, as the terminal has gone
	require.Error(t, c.Wait())
	assert.Equal(t, 1, c.ProcessState.ExitCode())
	assert.Equal(t, "\r\nmulti-service: terminated signal received\r\n", string(rest))
}
