package docs_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the lists of tests in docs/internals/rules.md anew")

const rulesPage = "docs/internals/rules.md"

// Each rule has tests, each test that names a rule names one that there is, and the page lists them.
func TestRulesAndTheirTests(t *testing.T) {
	t.Parallel()
	tests := ruleTests(t)
	head, sections := cutRules(read(t, rulesPage))
	var page strings.Builder
	page.WriteString(head)
	for i, s := range sections {
		assert.Equal(t, i+1, s.number, "rules are numbered from 1")
		assert.NotEmpty(t, tests[s.number], "rule %d has no test named TestRule%02d…", s.number, s.number)
		page.WriteString(s.text + "\n" + list(tests[s.number]) + s.rest)
		delete(tests, s.number)
	}
	for number, of := range tests {
		t.Errorf("there is no rule %d: %v", number, of)
	}
	if *update {
		require.NoError(t, os.WriteFile(filepath.Join("..", "..", rulesPage), []byte(page.String()), 0o644))
		return
	}
	assert.Equal(t, page.String(), read(t, rulesPage), "go test ./internal/docs -run Rules -update")
}

// rule is a section of the page: its heading and text, and what follows the list of tests.
type rule struct {
	number     int
	text, rest string
}

var ruleHeading = regexp.MustCompile(`(?m)^### (\d+)\. `)

// cutRules takes the page apart, without the lists.
func cutRules(page string) (head string, rules []rule) {
	starts := ruleHeading.FindAllStringSubmatchIndex(page, -1)
	for i, s := range starts {
		end := len(page)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		number, _ := strconv.Atoi(page[s[2]:s[3]])
		text, rest, found := strings.Cut(page[s[0]:end], "\n\n## ")
		if rest = strings.TrimRight(rest, "\n"); found {
			rest = "\n\n## " + rest
		}
		text, _, _ = strings.Cut(text, "\n\n<details>")
		if i+1 < len(starts) {
			rest += "\n"
		}
		rules = append(rules, rule{number, strings.TrimRight(text, "\n") + "\n", rest + "\n"})
	}
	return page[:starts[0][0]], rules
}

// list is the tests of a rule as the page shows them: one line a package.
func list(tests map[string][]string) string {
	count := 0
	var lines []string
	for _, pkg := range slices.Sorted(maps.Keys(tests)) {
		names := tests[pkg]
		slices.Sort(names)
		count += len(names)
		lines = append(lines, fmt.Sprintf("* `%s`: %s", pkg, strings.Join(names, ", ")))
	}
	return fmt.Sprintf("<details><summary>Tests: %d</summary>\n\n%s\n\n</details>", count, strings.Join(lines, "\n"))
}

// ruleTests finds the tests that name a rule, by its number and their package.
func ruleTests(t *testing.T) map[int]map[string][]string {
	found := make(map[int]map[string][]string)
	name := regexp.MustCompile(`^TestRule(\d\d)`)
	root := filepath.Join("..", "..")
	require.NoError(t, filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if m := name.FindStringSubmatch(f.Name.Name); m != nil {
				number, _ := strconv.Atoi(m[1])
				if found[number] == nil {
					found[number] = make(map[string][]string)
				}
				pkg := path.Clean(filepath.ToSlash(relative))
				found[number][pkg] = append(found[number][pkg], strings.TrimPrefix(f.Name.Name, "Test"))
			}
		}
		return nil
	}))
	return found
}
