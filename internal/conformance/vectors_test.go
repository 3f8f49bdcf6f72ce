package conformance_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/internal/conformance"
)

// TestVectors runs the project's own vectors, and those of the directory that
// LEAT_SPEC names.
func TestVectors(t *testing.T) {
	t.Parallel()
	dirs := []string{"testdata"}
	if dir := os.Getenv("LEAT_SPEC"); dir != "" {
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		vectors, err := conformance.Load(dir)
		require.NoError(t, err)
		for _, w := range []conformance.Wire{conformance.OverJSON(), conformance.OverBinary(), conformance.OverBoth()} {
			for _, v := range vectors {
				t.Run(v.Name+" over "+w.Name, func(t *testing.T) {
					t.Parallel()
					require.NoError(t, v.Run(t.Context(), w))
				})
			}
		}
	}
}
