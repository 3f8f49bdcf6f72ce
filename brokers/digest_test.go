package brokers

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestOneRequestHoweverItsNumbersAreWritten: what JSON says is the same is the same request, and large integers are told apart.
func TestOneRequestHoweverItsNumbersAreWritten(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{`1`, `1.0`, `1.000`, `10e-1`, `0.1e1`, `1E0`, `1e+0`, ` 1 `},
		{`0`, `-0`, `0.0`, `0e7`},
		{`100`, `1e2`, `1.00e2`, `100.0`},
		{`-1.5`, `-15e-1`, `-0.15E+1`},
		{`{"a":[1,{"b":2.50}],"c":"1.0"}`, `{"c":"1.0","a":[1.0,{"b":25e-1}]}`},
		{`1e99999999999999999999`, `1e99999999999999999999`},
	} {
		for _, other := range same {
			assert.Equal(t, digest([]byte(same[0])), digest([]byte(other)), "%s and %s", same[0], other)
		}
	}
	for _, pair := range [][2]string{{`9007199254740993`, `9007199254740992`}, {`1`, `"1"`}, {`1`, `10`}, {`1`, `-1`}, {`0.1`, `0.01`}, {`{"c":"1.0"}`, `{"c":"1"}`}} {
		assert.NotEqual(t, digest([]byte(pair[0])), digest([]byte(pair[1])), "%s and %s", pair[0], pair[1])
	}
}
