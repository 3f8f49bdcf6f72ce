package payload_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A Type and a Schema serve many goroutines, on their slow paths too.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	p := typeOf[tree](t)
	s := compiled(t, p)
	bad := []byte(`{"value":1,"kids":[{"value":2,"left":{"value":"x"}}]}`)
	const want = `field "kids[0].left.value": expected integer, got string`
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			assert.EqualError(t, s.Validate(context.Background(), bad), want)
			assert.EqualError(t, p.DecodeStrict(bad, new(tree)), want)
			assert.NoError(t, p.DecodeStrict([]byte(`{"value":1,"left":null}`), new(tree)))
		})
	}
	wg.Wait()
}
