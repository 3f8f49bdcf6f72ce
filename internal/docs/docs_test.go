package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// root is the repository, as seen from this directory.
const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(data)
}

// pages returns the paths of all pages of documentation, relative to the root.
func pages(t *testing.T) []string {
	t.Helper()
	all := []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "examples/README.md"}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			path, err = filepath.Rel(root, path)
			all = append(all, filepath.ToSlash(path))
		}
		return err
	})
	require.NoError(t, err)
	return all
}

var fenced = regexp.MustCompile("(?s)```.*?```")

func TestTheREADMEShowsTheQuickstartAsItIs(t *testing.T) {
	t.Parallel()
	_, shown, _ := strings.Cut(read(t, "README.md"), "<!-- quickstart -->\n```go\n")
	shown, _, _ = strings.Cut(shown, "```\n<!-- /quickstart -->")
	assert.Equal(t, read(t, "examples/quickstart/main.go"), shown)
}

func TestTheREADMEIsShort(t *testing.T) {
	t.Parallel()
	assert.LessOrEqual(t, strings.Count(read(t, "README.md"), "\n"), 120)
}

// Every file and every heading that the documentation names is there.
func TestLinksAndFileMapLeadSomewhere(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	file := regexp.MustCompile("`((?:bus|commands|events|pairing|brokers|internal|examples|docs|bench)/[a-z_./-]+)`")
	for _, page := range pages(t) {
		text := fenced.ReplaceAllString(read(t, page), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], ":") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			_, err := os.Stat(filepath.Join(root, target))
			if assert.NoError(t, err, page) && anchor != "" {
				assert.Contains(t, anchors(read(t, target)), anchor, "%s links to %s", page, m[1])
			}
		}
		for _, m := range file.FindAllStringSubmatch(text, -1) {
			_, err := os.Stat(filepath.Join(root, m[1]))
			assert.NoError(t, err, page)
		}
	}
}

// anchors returns the anchors that GitHub gives to the headings of a page.
func anchors(text string) []string {
	var all []string
	for line := range strings.Lines(fenced.ReplaceAllString(text, "")) {
		heading := strings.TrimLeft(line, "#")
		if heading == line || !strings.HasPrefix(heading, " ") {
			continue
		}
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(heading)))
	}
	return all
}

// What pages call Type.Field is a field of an exported struct of that name.
func TestFieldsThatPagesNameExist(t *testing.T) {
	t.Parallel()
	fields := make(map[string]map[string]bool)
	for _, dir := range published {
		for name, all := range structs(t, dir, func(name string) bool { return named.MatchString(name + ".X") }) {
			if fields[name] == nil {
				fields[name] = make(map[string]bool)
			}
			for _, f := range all {
				fields[name][f.name] = true
			}
		}
	}
	for _, page := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(fenced.ReplaceAllString(read(t, page), ""), -1) {
			if of := fields[m[1]]; assert.True(t, of != nil, "%s: there is no %s", page, m[1]) {
				assert.True(t, of[m[2]], "%s: there is no %s", page, m[0])
			}
		}
	}
}

var named = regexp.MustCompile(`\b(\w*(?:Options|Stats|Config|Credentials))\.([A-Z]\w*)`)

// The server that the tutorial starts is of the version that its test uses.
func TestTheTutorialStartsTheServerOfItsTest(t *testing.T) {
	t.Parallel()
	version := regexp.MustCompile(`github\.com/nats-io/nats-server/v2[ @](v[\d.]+)`)
	shown := version.FindStringSubmatch(read(t, "docs/getting-started.md"))
	used := version.FindStringSubmatch(read(t, "examples/go.mod"))
	require.NotNil(t, shown)
	require.NotNil(t, used)
	assert.Equal(t, used[1], shown[1])
}

// The index of the documentation has every page.
func TestTheIndexHasEveryPage(t *testing.T) {
	t.Parallel()
	index := read(t, "docs/README.md")
	for _, page := range pages(t) {
		if name, ok := strings.CutPrefix(page, "docs/"); ok && name != "README.md" {
			assert.Contains(t, index, "]("+name+")")
		}
	}
}

// The commands at the top of the README are the ones that CI runs, and the workflow runs CI.
func TestCIRunsWhatTheREADMESays(t *testing.T) {
	t.Parallel()
	_, block, _ := strings.Cut(read(t, "README.md"), "```sh\n")
	block, _, _ = strings.Cut(block, "```")
	ci := read(t, ".ci/run")
	for line := range strings.Lines(block) {
		command, _, _ := strings.Cut(line, "#")
		assert.Contains(t, ci, strings.TrimSpace(command))
	}
	assert.Contains(t, read(t, ".github/workflows/ci.yml"), "\n      - run: ./.ci/run\n")
}
