package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/leatbus/leat/bench/internal/chart"
	"github.com/leatbus/leat/bench/internal/results"
)

// charts draws the results and, if page is set, puts the tables into it, and the ratios where they are in a file.
func charts(from, into, page, ratios string) error {
	r, err := results.Read(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	for _, id := range []string{"callers", "payload", "hops", "events"} {
		s, err := r.Section(id)
		if err != nil {
			return err
		}
		if err := save(into, id, chart.Lines(chartOf(s))); err != nil {
			return err
		}
	}
	sequential, err := r.Section("callers")
	if err != nil {
		return err
	}
	c := chartOf(sequential)
	c.Title = "One call of math.add, one caller"
	if err := save(into, "calls", chart.Bars(c, 0)); err != nil {
		return err
	}
	if err := saveScaling(r, into); err != nil {
		return err
	}
	if page == "" {
		return nil
	}
	var tables bytes.Buffer
	r.Markdown(&tables)
	if err := fillPage(page, "tables", tables.String()); err != nil || ratios == "" {
		return err
	}
	table, err := ratioTable(ratios)
	if err != nil {
		return err
	}
	return fillPage(page, "ratios", table)
}

// ratioTable is what the ratios subcommand has printed, as Markdown.
func ratioTable(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	table := "| ratio | value | bound | |\n|---|---:|---:|---|\n"
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "\t")
		if len(cells) != 4 {
			return "", fmt.Errorf("%s: %q is no ratio", path, line)
		}
		bound := strings.NewReplacer("<=", "≤ ", ">=", "≥ ").Replace(cells[2])
		table += fmt.Sprintf("| %s | %s | %s | %s |\n", cells[0], cells[1], bound, cells[3])
	}
	return table, nil
}

func chartOf(s results.Section) chart.Chart {
	c := chart.Chart{Title: s.Title, Unit: s.Unit, Axis: s.Axis, Columns: s.Columns}
	for _, row := range s.Rows {
		c.Rows = append(c.Rows, chart.Row{Name: row.Name, Values: row.Values})
	}
	return c
}

// saveScaling draws the cost of all dimensions in one chart: the columns are the steps of each.
func saveScaling(r *results.Results, into string) error {
	c := chart.Chart{Title: "Scaling", Unit: "ns per operation", Axis: "steps of each dimension, as in its table"}
	for _, s := range r.Sections {
		name, ok := strings.CutPrefix(s.ID, "scale-")
		if !ok {
			continue
		}
		c.Rows = append(c.Rows, chart.Row{
			Name:   fmt.Sprintf("%s %s–%s", name, s.Columns[0], s.Columns[len(s.Columns)-1]),
			Values: s.Rows[0].Values,
		})
		for len(c.Columns) < len(s.Columns) {
			c.Columns = append(c.Columns, fmt.Sprint(len(c.Columns)+1))
		}
	}
	return save(into, "scaling", chart.Lines(c))
}

func save(into, name, svg string) error {
	return os.WriteFile(filepath.Join(into, name+".svg"), []byte(svg), 0o644)
}

// fillPage replaces what is between the marks of that name.
func fillPage(path, name, with string) error {
	begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s: no marks for the %s", path, name)
	}
	return os.WriteFile(path, []byte(before+begin+"\n"+with+"\n"+end+after), 0o644)
}
