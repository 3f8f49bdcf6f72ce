package fleet_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestDurableRequestDeliveredAgainIsAnswered: a broker that has not heard of an ack delivers a request again to the process that has
// executed it.
func TestDurableRequestDeliveredAgainIsAnswered(t *testing.T) {
	t.Parallel()
	d := newDepot()
	caller, w := d.site(t, "caller"), d.site(t, "w")
	var runs atomic.Int64
	w.serve(t, func(ctx context.Context, p pairOf) (int, error) {
		runs.Add(1)
		return add(ctx, p)
	})
	caller.can(t, "job.add")
	assert.Equal(t, answer{3, nil}, got(t, caller.call(t.Context(), 1, 2), "the reply"))
	until(t, "it is acked", func() bool { return d.acks() == 1 })
	for n := 2; n < 5; n++ {
		d.again(jobTopic, 0)
		until(t, "it is acked again", func() bool { return d.acks() == n })
	}
	assert.Equal(t, int64(1), runs.Load(), "it ran once")
	assert.EqualValues(t, 3, w.fleet.Stats().Duplicates)
	assert.Equal(t, answer{7, nil}, got(t, caller.call(t.Context(), 3, 4), "the next one runs"))
	assert.Equal(t, int64(2), runs.Load())
}
