package prompt

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSuggest(t *testing.T) {
	t.Parallel()
	words := []string{"list", "listen", "math.add", "math.sub", "greet.hello"}
	for typed, want := range map[string]string{
		"lits":       "list",
		"LIST":       "list",
		"listn":      "list",
		"math.ad":    "math.add",
		"math.sbu":   "math.sub",
		"add":        "math.add",
		"gre":        "greet.hello",
		"xyz":        "",
		"":           "",
		"x":          "",
		"unrelated.": "",
	} {
		assert.Equal(t, want, suggest(typed, words), typed)
	}
}
