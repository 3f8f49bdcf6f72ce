//go:build unix

package brokers_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/commands"
)

// TestPausedWorkerDropsWhatItsCallersKnowAsFailed: a process that was paused for longer than its lease does not execute, when it goes
// on, the requests that were sent to it meanwhile: their callers have been told that it is gone. It executes those that come then.
func TestPausedWorkerDropsWhatItsCallersKnowAsFailed(t *testing.T) {
	t.Parallel()
	betweenProcesses(t, func(t *testing.T, k kind) {
		w := newWorkforce(t, k, "w1")
		_, err := commands.Execute(t.Context(), w.caller, who, 1)
		require.NoError(t, err)
		w.workers["w1"].signal(syscall.SIGSTOP)
		var status syscall.WaitStatus
		_, err = syscall.Wait4(w.workers["w1"].pid, &status, syscall.WUNTRACED, nil)
		require.NoError(t, err)
		require.True(t, status.Stopped())
		stopped := time.Now()
		failed := make(chan error, 5)
		for range cap(failed) {
			go func() {
				_, err := commands.Execute(t.Context(), w.caller, hold, "while it is paused")
				failed <- err
			}()
		}
		for range cap(failed) {
			require.ErrorIs(t, <-failed, commands.ErrChannelDisconnected)
		}
		require.Less(t, time.Since(stopped), overdue)
		w.workers["w1"].signal(syscall.SIGCONT)
		require.Eventually(t, func() bool {
			got, err := commands.Execute(t.Context(), w.caller, who, 21)
			return err == nil && got.Twice == 42
		}, time.Minute, 100*time.Millisecond, "it is back")
		require.NoError(t, w.caller.Events().Flush(t.Context()))
		require.Empty(t, w.held, "a request was executed of which its caller knows that it has failed")
	})
}
