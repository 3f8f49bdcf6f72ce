package prompt

import (
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"
	"github.com/stretchr/testify/assert"
)

func TestTableFits(t *testing.T) {
	t.Parallel()
	rows := [][]string{{"ID", "TEXT", "N"}, {"a.command", strings.Repeat("wörd ", 20), "7"}}
	for width, want := range map[int]int{0: 9 + 2 + 100 + 2 + 1, 200: 114, 80: 80, 40: 40, 10: 10} {
		lines := table(rows, width, []int{1})
		assert.Equal(t, want, runewidth.StringWidth(lines[1]), "at %d columns: %q", width, lines[1])
		assert.LessOrEqual(t, runewidth.StringWidth(lines[0]), want)
	}
	assert.Equal(t, "a.command  wörd wörd wörd wörd wörd …  7", table(rows, 40, []int{1})[1])
}

// The widest of the cells that may be cut are cut first.
func TestTableCutsTheWidest(t *testing.T) {
	t.Parallel()
	rows := [][]string{{"ID", "A", "B"}, {"an.id.that.stays", strings.Repeat("a", 10), strings.Repeat("b", 90)}}
	assert.Equal(t, "an.id.that.stays  aaaaaaaaaa  bbbbbbbbb…", table(rows, 40, []int{1, 2})[1])
}

// A peer's description must not move the cursor.
func TestTableIsHarmless(t *testing.T) {
	t.Parallel()
	rows := [][]string{{"A", "B"}, {"x\x1b[2J", "y\nz\u0085\t"}}
	assert.Equal(t, []string{"A      B", "x·[2J  y·z··"}, table(rows, 0, nil))
}

func TestColours(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "\x1b[31mx\x1b[0m", (&screen{coloured: true}).red("x"))
	assert.Equal(t, "x", new(screen).red("x"))
}
