package docs_test

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestEachMetadataKeyIsOnThePage finds each metadata key of leat's own in docs/reference/wire.md.
func TestEachMetadataKeyIsOnThePage(t *testing.T) {
	t.Parallel()
	page := read(t, "docs/reference/wire.md")
	key := regexp.MustCompile(`^"(leat(?:-[a-z]+)+)"$`)
	found := 0
	for _, dir := range append([]string{"internal/mac"}, published...) {
		_, files := parse(t, dir)
		for _, f := range files {
			for n := range ast.Preorder(f) {
				spec, ok := n.(*ast.ValueSpec)
				if !ok || len(spec.Values) != 1 || !strings.HasPrefix(strings.ToLower(spec.Names[0].Name), "key") {
					continue
				}
				if value, ok := spec.Values[0].(*ast.BasicLit); ok && key.MatchString(value.Value) {
					found++
					name := key.FindStringSubmatch(value.Value)[1]
					assert.True(t, strings.Contains(page, "`"+name+"`"), "the page lacks %s of package %s", name, dir)
				}
			}
		}
	}
	assert.Greater(t, found, 40)
}
