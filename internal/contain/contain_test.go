package contain_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leatbus/leat/internal/contain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRule25DoOutlivesWhatItRuns(t *testing.T) {
	t.Parallel()
	ran := false
	require.NoError(t, contain.Do(func() { ran = true }))
	require.True(t, ran)

	var p *contain.Panic
	require.ErrorAs(t, contain.Do(func() { panic("broken") }), &p)
	require.Equal(t, "broken", p.Value)
	require.Contains(t, string(p.Stack), "contain_test.go", "the stack is that of the panic")
	require.EqualError(t, p, "it panicked: broken")

	require.ErrorIs(t, contain.Do(runtime.Goexit), contain.ErrExited)
}
