package fleet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestClock: of two measurements that agree the one with the shorter way counts, of two that do not the later one.
func TestClock(t *testing.T) {
	t.Parallel()
	const second, hour = int64(1e6), int64(3600e6) // in microseconds
	var c clock
	c.observe(1000, 1050, 1100, time.Minute)
	require.Zero(t, c.offset)
	c.observe(1000+second, 1290+second, 1300+second, time.Minute)
	require.Zero(t, c.offset, "it is off by 150 µs at most, and by 140")
	c.observe(1000+second, 1150+hour, 1300+second, time.Minute)
	require.InDelta(t, time.Hour, c.offset, float64(2*time.Second), "it was set")
	c.observe(1000+second, 1150, 1300+second, time.Minute)
	require.InDelta(t, 0, c.offset, float64(2*time.Second), "and back")
}
