//go:build !race

package payload_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/leatbus/leat/internal/payload"
)

// The race detector makes pools forget at random, so that there is nothing to count under it.

func TestAllocations(t *testing.T) {
	p, s := typeOf[sum](t), typeOf[string](t)
	var v sum
	for _, data := range []string{`{"a":7,"b":11}`, `{"b":7,"a":11}`} {
		payload := []byte(data)
		assert.Zero(t, testing.AllocsPerRun(100, func() {
			if p.DecodeStrict(payload, &v) != nil || p.Decode(payload, &v) != nil {
				t.Fail()
			}
		}), data)
	}
	var text string
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() { _ = s.DecodeStrict([]byte(`"abc"`), &text) }), 1.0, "the string")
	v = sum{7, 11}
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() { _, _ = payload.Encode(&v) }), 1.0, "the result")
}
