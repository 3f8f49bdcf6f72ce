package docs_test

import (
	"go/ast"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestEachLogLineIsExplained finds each line that leat logs at Info, Warn and Error in docs/operations/troubleshooting.md. What is only
// known when the line is written stands there as "…".
func TestEachLogLineIsExplained(t *testing.T) {
	t.Parallel()
	page := read(t, "docs/operations/troubleshooting.md")
	said := make(map[string]bool)
	for _, dir := range published {
		for _, line := range logged(t, dir) {
			said[line] = true
			assert.True(t, strings.Contains(page, "\n| `"+line+"` |"), "the page lacks %q, which package %s logs", line, dir)
		}
	}
	assert.Greater(t, len(said), 40, "are calls of the logger still found?")
	text, found := section(page, "## Log lines")
	assert.True(t, found)
	for _, row := range rows(text) {
		assert.True(t, said[strings.Trim(row[0], "`")], "nothing logs %s", row[0])
	}
}

var level = regexp.MustCompile(`^(Info|Warn|Error)(Context)?$`)

// logged returns the texts that a package logs at Info and above.
func logged(t *testing.T, dir string) (all []string) {
	t.Helper()
	_, files := parse(t, dir)
	for _, f := range files {
		for n := range ast.Preorder(f) {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				continue
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !level.MatchString(method.Sel.Name) {
				continue
			}
			text := call.Args[0]
			if strings.HasSuffix(method.Sel.Name, "Context") && len(call.Args) > 1 {
				text = call.Args[1]
			}
			if line, ok := literal(text); ok {
				all = append(all, line)
			}
		}
	}
	return all
}

// literal returns a text of which at least a part is constant. "…" stands for what is not.
func literal(e ast.Expr) (text string, constant bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		left, a := literal(e.X)
		right, b := literal(e.Y)
		if e.Op == token.ADD && (a || b) {
			return left + right, true
		}
	}
	return "…", false
}

// TestEachErrorIsExplained finds each exported error in the pages of errors and of troubleshooting.
func TestEachErrorIsExplained(t *testing.T) {
	t.Parallel()
	both := read(t, "docs/reference/errors.md") + read(t, "docs/operations/troubleshooting.md")
	name := regexp.MustCompile(`^(Err[A-Z]|Promise[A-Z])`)
	for _, dir := range published {
		_, files := parse(t, dir)
		for _, f := range files {
			for _, d := range f.Decls {
				values, ok := d.(*ast.GenDecl)
				if !ok || values.Tok != token.VAR && values.Tok != token.CONST {
					continue
				}
				for _, s := range values.Specs {
					for _, n := range s.(*ast.ValueSpec).Names {
						if name.MatchString(n.Name) {
							explained := regexp.MustCompile(`\b` + n.Name + `\b`).MatchString(both)
							assert.True(t, explained, "the pages lack %s of package %s", n.Name, dir)
						}
					}
				}
			}
		}
	}
}
