package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// snippets is where the code of the guides comes from: programs and tests that are compiled and run.
var snippets = []string{"examples/getting-started", "examples/guides"}

// A block of Go in a guide follows a comment that says where it is from: a file, and a region of it unless it is shown whole.
//
//	<!-- snippet: examples/guides/commands_test.go define -->
//
// A region of a file is between the lines "// snippet: define" and "// end snippet".
var (
	block  = regexp.MustCompile("(?s)(?:<!-- snippet: (\\S+)(?: (\\S+))? -->\n)?```go\n(.*?)```")
	region = regexp.MustCompile(`(?ms)^[ \t]*// snippet: (\S+)\n(.*?)^[ \t]*// end snippet$`)
)

// TestGuidesShowCodeThatRuns compares each block of Go in the guides with its source, and finds code that no page shows.
// UPDATE_DOCS=1 writes the blocks.
func TestGuidesShowCodeThatRuns(t *testing.T) {
	t.Parallel()
	shown := make(map[string]bool)
	for _, page := range pages(t) {
		guide := page == "docs/getting-started.md" || page == "docs/concepts.md" || strings.HasPrefix(page, "docs/guides/")
		text := read(t, page)
		updated := block.ReplaceAllStringFunc(text, func(b string) string {
			m := block.FindStringSubmatch(b)
			if m[1] == "" {
				assert.False(t, guide, "%s: no source for\n%s", page, m[3])
				return b
			}
			from := strings.TrimSpace(m[1] + " " + m[2])
			shown[from] = true
			code := snippet(t, m[1], m[2])
			if os.Getenv("UPDATE_DOCS") == "" {
				assert.Equal(t, code, m[3], "%s: %s", page, from)
			}
			return fmt.Sprintf("<!-- snippet: %s -->\n```go\n%s```", from, code)
		})
		if os.Getenv("UPDATE_DOCS") != "" && updated != text {
			require.NoError(t, os.WriteFile(filepath.Join(root, page), []byte(updated), 0o644))
		}
	}
	for _, dir := range snippets {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" {
				return err
			}
			name, err := filepath.Rel(root, path)
			for _, m := range region.FindAllStringSubmatch(read(t, name), -1) {
				assert.True(t, shown[filepath.ToSlash(name)+" "+m[1]], "no page shows %s %s", name, m[1])
			}
			return err
		})
		require.NoError(t, err)
	}
}

// snippet returns a region of a file, or all of it, without the indentation that its lines share.
func snippet(t *testing.T, path, name string) string {
	t.Helper()
	text := read(t, path)
	if name == "" {
		return text
	}
	for _, m := range region.FindAllStringSubmatch(text, -1) {
		if m[1] == name {
			return dedent(strings.Trim(m[2], "\n") + "\n")
		}
	}
	t.Errorf("%s has no snippet %s", path, name)
	return ""
}

func dedent(text string) string {
	least := -1
	for line := range strings.Lines(text) {
		if n := len(line) - len(strings.TrimLeft(line, "\t")); strings.TrimSpace(line) != "" && (least < 0 || n < least) {
			least = n
		}
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(line[min(least, len(line)-len(strings.TrimLeft(line, "\t"))):])
	}
	return b.String()
}
