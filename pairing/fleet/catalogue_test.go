package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRule24AListIsReadInLinearTime: also if none of the many IDs that are said to be durable is among the many that are added.
func TestRule24AListIsReadInLinearTime(t *testing.T) {
	t.Parallel()
	const count = 100_000
	var add, durable []string
	for i := range count {
		add = append(add, fmt.Sprintf(`{"id":"a.name.that.is.as.long.as.names.may.well.be.%08d.added"}`, i))
		durable = append(durable, fmt.Sprintf(`"a.name.that.is.as.long.as.names.may.well.be.%08d.other"`, i))
	}
	began := time.Now()
	c, err := readCatalogue([]byte(`{"add":[` + strings.Join(add, ",") + `],"durable":[` + strings.Join(durable, ",") + `]}`))
	require.NoError(t, err)
	require.Len(t, c.Add, count)
	require.Less(t, time.Since(began), time.Minute, "each ID was looked for among all others")
}
