package docs_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/leatbus/leat/"

// TestPackagesImportWhatTheyMay compares the table in docs/internals/architecture.md with what packages import of leat, tests aside.
func TestPackagesImportWhatTheyMay(t *testing.T) {
	t.Parallel()
	text, found := section(read(t, "docs/internals/architecture.md"), "## What may import what")
	require.True(t, found)
	may := make(map[string][]string)
	for _, row := range rows(text) {
		name := strings.Trim(row[0], "`")
		for _, of := range strings.Split(row[1], ",") {
			if of = strings.Trim(strings.TrimSpace(of), "`"); of != "–" {
				may[name] = append(may[name], of)
			}
		}
		if may[name] == nil {
			may[name] = []string{}
		}
	}
	for _, dir := range []string{"bus", "commands", "events", "pairing", "internal", "brokers"} {
		touch(t, dir)
	}
	c := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...", "./brokers/...")
	c.Dir = root
	out, err := c.CombinedOutput()
	require.NoError(t, err, string(out))
	listed := make(map[string]bool)
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		name, ours := strings.CutPrefix(words[0], module)
		if !ours {
			continue // the root's doc, if there is one
		}
		listed[name] = true
		allowed, has := may[name]
		assert.True(t, has, "%s is not in the table", name)
		for _, imported := range words[1:] {
			if of, ours := strings.CutPrefix(imported, module); ours {
				assert.True(t, slices.Contains(allowed, of), "%s imports %s", name, of)
			}
		}
	}
	for name := range may {
		assert.True(t, listed[name], "there is no package %s", name)
	}
}

// touch opens each source file below dir, so that go test does not take a result from its cache when one has changed: it does not
// see what other commands read.
func touch(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".go" && !strings.HasSuffix(path, "_test.go") {
			_, err = os.ReadFile(path)
		}
		return err
	}))
}

// TestOnlyBrokersKnowBrokers keeps clients of brokers out of the root module.
func TestOnlyBrokersKnowBrokers(t *testing.T) {
	t.Parallel()
	mod := read(t, "go.mod")
	for _, client := range []string{"nats-io", "redis", "amqp", "pgx", "sarama"} {
		assert.NotContains(t, mod, client)
	}
}
