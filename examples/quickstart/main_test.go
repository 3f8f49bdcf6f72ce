package main_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/examples/internal/program"
)

func TestQuickstart(t *testing.T) {
	t.Parallel()
	r := program.Run(t, program.Build(t), program.Options{})
	assert.Equal(t, "event: 18\nresult: 18\n", r.Stdout)
	assert.Empty(t, r.Stderr)
	assert.Zero(t, r.Status)
}

// The README shows the program whole, so it has to stay short.
func TestQuickstartIsShort(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("main.go")
	require.NoError(t, err)
	assert.Less(t, bytes.Count(source, []byte("\n")), 60)
}

func TestMain(m *testing.M) { program.Main(m) }

func TestUsage(t *testing.T) {
	t.Parallel()
	program.Usage(t, program.Build(t), "quickstart")
}
