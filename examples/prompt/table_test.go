package prompt

import (
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"
	"github.com/stretchr/testify/assert"
)

func TestTableFits(t *testing.T) {
	t.Parallel()
	rows := table{
		header: []string{"ID", "TEXT", "N"},
		rows:   [][]string{{"a.command", strings.Repeat("wörd ", 20), "7"}},
		right:  map[int]bool{2: true},
		shrink: []int{1},
	}
	for width, want := range map[int]int{0: 9 + 2 + 100 + 2 + 1, 200: 114, 80: 80, 40: 40, 10: 10} {
		for _, line := range strings.Split(strings.TrimSpace(rows.render(width, painter{})), "\n") {
			assert.Equal(t, want, runewidth.StringWidth(line), "at %d columns: %q", width, line)
		}
	}
	assert.Contains(t, rows.render(40, painter{}), "a.command  wörd wörd wörd wörd wörd …  7\n")
}

// A peer's description must not move the cursor.
func TestTableIsHarmless(t *testing.T) {
	t.Parallel()
	rows := table{header: []string{"A", "B"}, rows: [][]string{{"x\x1b[2J", "y\nz\u0085"}}}
	assert.Equal(t, "A      B\nx·[2J  y·z·\n", rows.render(0, painter{}))
}

func TestColours(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "\x1b[31mx\x1b[0m", painter{on: true}.red("x"))
	assert.Equal(t, "x", painter{}.red("x"))
}
