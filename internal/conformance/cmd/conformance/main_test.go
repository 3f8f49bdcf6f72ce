package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	write("behavior/good.json", `{"steps":[{"direction":"assert-no-outbound"}]}`)
	var out strings.Builder
	require.NoError(t, run(context.Background(), &out, []string{dir}))
	require.Equal(t, "ok   behavior/good (json)\nok   behavior/good (binary)\n2 passed, 0 failed\n", out.String())

	write("behavior/bad.json", `{"steps":[{"direction":"up"}]}`)
	out.Reset()
	require.EqualError(t, run(context.Background(), &out, []string{dir}), "2 of 4 vectors failed")
	require.Contains(t, out.String(), `FAIL behavior/bad (json): step 1: the runner does not understand the direction "up"`+"\n")
	require.Contains(t, out.String(), "2 passed, 2 failed\n")

	require.ErrorContains(t, run(context.Background(), &out, []string{filepath.Join(dir, "nowhere")}), "no such file")
	require.ErrorContains(t, run(context.Background(), &out, []string{t.TempDir()}), "there are none")
}

func TestDirectories(t *testing.T) {
	require.Equal(t, []string{"somewhere"}, directories("somewhere"))

	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "project"), 0o755))
	t.Chdir(filepath.Join(root, "project"))
	require.Equal(t, []string{own}, directories(""))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "shared", "spec"), 0o755))
	require.Equal(t, []string{own, neighbour}, directories(""))
}
