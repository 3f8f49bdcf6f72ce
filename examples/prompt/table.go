package prompt

import (
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
)

// table is text in columns.
type table struct {
	header []string
	rows   [][]string
	right  map[int]bool // columns of numbers
	shrink []int        // columns that may be cut, if the table is too wide
}

// The gap between columns, and the width that a cut column keeps.
const (
	gap      = "  "
	minWidth = 8
)

// render returns the table in at most width columns of the terminal; 0 is no limit.
func (t *table) render(width int, p painter) string {
	rows := make([][]string, 0, 1+len(t.rows))
	for _, row := range append([][]string{t.header}, t.rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
		}
		rows = append(rows, cells)
	}
	widths := t.widths(rows, width)
	var b strings.Builder
	for i, row := range rows {
		line := t.line(row, widths)
		if width > 0 {
			line = runewidth.Truncate(line, width, "…")
		}
		if i == 0 {
			line = p.bold(line)
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// widths returns what each column gets: what it needs, less what the widest of those that may be
// cut can give.
func (t *table) widths(rows [][]string, limit int) []int {
	widths := make([]int, len(t.header))
	total := len(gap) * (len(widths) - 1)
	for i := range widths {
		for _, row := range rows {
			widths[i] = max(widths[i], runewidth.StringWidth(row[i]))
		}
		total += widths[i]
	}
	for ; limit > 0 && total > limit && len(t.shrink) > 0; total-- {
		widest := slices.MaxFunc(t.shrink, func(a, b int) int { return widths[a] - widths[b] })
		if widths[widest] <= minWidth {
			break
		}
		widths[widest]--
	}
	return widths
}

func (t *table) line(row []string, widths []int) string {
	cells := make([]string, len(row))
	for i, cell := range row {
		cell = runewidth.Truncate(cell, widths[i], "…")
		if t.right[i] {
			cells[i] = runewidth.FillLeft(cell, widths[i])
		} else {
			cells[i] = runewidth.FillRight(cell, widths[i])
		}
	}
	return strings.TrimRight(strings.Join(cells, gap), " ")
}
