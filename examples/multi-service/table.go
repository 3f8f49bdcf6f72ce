package main

import (
	"strings"
	"unicode/utf8"
)

// table is text in columns.
type table struct {
	header []string
	rows   [][]string
	right  map[int]bool // columns of numbers
	shrink []int        // columns that may be cut, if the table is too wide
}

// The gap between columns, and what a cut column keeps at least.
const (
	gap      = "  "
	minWidth = 8
)

// render returns the table in at most width columns, if that can be; 0 is no
// limit.
func (t *table) render(width int, p painter) string {
	widths := t.widths(width)
	var b strings.Builder
	write := func(row []string, paint func(string) string) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = t.pad(i, cut(printable(cell), widths[i]), widths[i])
		}
		b.WriteString(paint(strings.TrimRight(strings.Join(cells, gap), " ")))
		b.WriteByte('\n')
	}
	write(t.header, p.bold)
	for _, row := range t.rows {
		write(row, func(s string) string { return s })
	}
	return b.String()
}

func (t *table) pad(column int, cell string, width int) string {
	blank := strings.Repeat(" ", width-utf8.RuneCountInString(cell))
	if t.right[column] {
		return blank + cell
	}
	return cell + blank
}

// widths returns what each column gets: what it needs, less what the widest
// of those that may be cut can give.
func (t *table) widths(limit int) []int {
	widths := make([]int, len(t.header))
	total := len(gap) * (len(widths) - 1)
	for i := range widths {
		for _, row := range append([][]string{t.header}, t.rows...) {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
		total += widths[i]
	}
	for limit > 0 && total > limit {
		widest := -1
		for _, i := range t.shrink {
			if widths[i] > minWidth && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		total--
	}
	return widths
}

func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}
