package measure_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bench/internal/measure"
)

func TestRoundsInterleaveAndCountPerOperation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var order string
		sleeper := func(name string, each time.Duration) measure.Series {
			return measure.Series{Name: name, Run: func(n int) (int, error) {
				order += name
				time.Sleep(time.Duration(n) * each)
				return n, nil
			}}
		}
		got, err := measure.Rounds(measure.Plan{Rounds: 3, Target: time.Second},
			sleeper("a", 100*time.Millisecond), sleeper("b", 300*time.Millisecond))
		require.NoError(t, err)
		assert.Equal(t, "ababab", order[len(order)-6:])
		assert.InDelta(t, 100e6, got[0].Median(), 1)
		assert.InDelta(t, 300e6, got[1].Median(), 1)
		assert.Len(t, got[0].Rounds, 3)
	})
}

func TestRoundsNameTheSeriesThatFails(t *testing.T) {
	t.Parallel()
	_, err := measure.Rounds(measure.Plan{Rounds: 1, Target: time.Millisecond},
		measure.Series{Name: "broken", Run: func(int) (int, error) { return 0, errors.New("no luck") }})
	require.EqualError(t, err, "broken: no luck")
}

func TestCallsShareTheWork(t *testing.T) {
	t.Parallel()
	for _, callers := range []int{1, 16} {
		var calls atomic.Int64
		done, err := measure.Calls(callers, func(context.Context) error { calls.Add(1); return nil })(160)
		require.NoError(t, err)
		assert.Equal(t, 160, done)
		assert.EqualValues(t, 160, calls.Load())
	}
	_, err := measure.Calls(4, func(context.Context) error { return errors.New("no luck") })(8)
	require.EqualError(t, err, "no luck")
}

func TestMedian(t *testing.T) {
	t.Parallel()
	assert.Zero(t, measure.Median(nil))
	assert.InDelta(t, 2, measure.Median([]float64{9, 1, 2}), 0)
	assert.InDelta(t, 1.5, measure.Median([]float64{2, 1}), 0)
}
