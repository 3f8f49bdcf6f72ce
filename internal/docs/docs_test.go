package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", path))
	require.NoError(t, err)
	return string(data)
}

func TestTheREADMEShowsTheQuickstartAsItIs(t *testing.T) {
	t.Parallel()
	_, shown, _ := strings.Cut(read(t, "README.md"), "<!-- quickstart -->\n```go\n")
	shown, _, _ = strings.Cut(shown, "```\n<!-- /quickstart -->")
	assert.Equal(t, read(t, "examples/quickstart/main.go"), shown)
}

// Every file that the documentation names is there.
func TestLinksAndFileMapLeadSomewhere(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	file := regexp.MustCompile("`((?:bus|commands|events|pairing|internal|examples|docs|bench)/[a-z_./-]+)`")
	code := regexp.MustCompile("(?s)```.*?```")
	docs, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	pages := []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
	for _, d := range docs {
		pages = append(pages, "docs/"+filepath.Base(d))
	}
	for _, page := range pages {
		text := code.ReplaceAllString(read(t, page), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			_, err := os.Stat(filepath.Join("..", "..", filepath.Dir(page), m[1]))
			assert.NoError(t, err, page)
		}
		for _, m := range file.FindAllStringSubmatch(text, -1) {
			_, err := os.Stat(filepath.Join("..", "..", m[1]))
			assert.NoError(t, err, page)
		}
	}
}

// The commands at the top of the README are the ones that CI runs.
func TestCIRunsWhatTheREADMESays(t *testing.T) {
	t.Parallel()
	_, block, _ := strings.Cut(read(t, "README.md"), "```sh\n")
	block, _, _ = strings.Cut(block, "```")
	ci := read(t, ".ci/run")
	for line := range strings.Lines(block) {
		command, _, _ := strings.Cut(line, "#")
		assert.Contains(t, ci, strings.TrimSpace(command))
	}
}
