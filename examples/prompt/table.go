package prompt

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"text/tabwriter"

	"github.com/mattn/go-runewidth"
)

// minCell is what is left of a cell that may be cut, in columns of the terminal.
const minCell = 8

// show prints rows as a table; the first one is its header.
func (s *session) show(rows [][]string, shrink ...int) error {
	lines := table(rows, s.out.width(), shrink)
	lines[0] = s.out.bold(lines[0])
	_, err := fmt.Fprintln(s.out, strings.Join(lines, "\n"))
	return err
}

// table lays rows out in columns. Where width is too narrow, the cells of the columns in shrink are
// cut as far as they need to be, and then the lines; 0 is no limit.
func table(rows [][]string, width int, shrink []int) []string {
	if width == 0 {
		return layOut(rows, math.MaxInt, shrink)
	}
	cut := sort.Search(max(0, width-minCell), func(n int) bool {
		for _, line := range layOut(rows, width-n, shrink) {
			if runewidth.StringWidth(line) > width {
				return false
			}
		}
		return true
	})
	lines := layOut(rows, width-cut, shrink)
	for i, line := range lines {
		lines[i] = runewidth.Truncate(line, width, "…")
	}
	return lines
}

// layOut cuts the cells of the columns in shrink to limit.
func layOut(rows [][]string, limit int, shrink []int) (lines []string) {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			cell = printable(cell)
			if slices.Contains(shrink, i) {
				cell = runewidth.Truncate(cell, limit, "…")
			}
			_, _ = w.Write([]byte(cell + "\t"))
		}
		_, _ = w.Write([]byte("\n"))
	}
	_ = w.Flush()
	for line := range strings.Lines(b.String()) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return lines
}
