package docs_test

import (
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestCountersAreThoseOfTheCode compares docs/reference/counters.md with the fields of all exported Stats structs: each has a
// section, named package.Type, with a row for each field, in the order of the code.
func TestCountersAreThoseOfTheCode(t *testing.T) {
	t.Parallel()
	page := read(t, "docs/reference/counters.md")
	for _, dir := range published {
		for name, fields := range structs(t, dir, func(name string) bool { return strings.HasSuffix(name, "Stats") }) {
			title := path.Base(dir) + "." + name
			text, found := section(page, "## "+title)
			assert.True(t, found, "no section %s", title)
			var want, got []string
			for _, f := range fields {
				want = append(want, "`"+f.name+"`")
			}
			for _, row := range rows(text) {
				got = append(got, row[0])
			}
			assert.Equal(t, strings.Join(want, "\n"), strings.Join(got, "\n"), title)
		}
	}
}
