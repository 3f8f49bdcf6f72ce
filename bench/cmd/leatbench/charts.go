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

// charts draws the results and, if page is set, puts the tables into it.
func charts(from, into, page string) error {
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
	return fillPage(r, page)
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

const (
	beginMark = "<!-- tables -->\n"
	endMark   = "<!-- /tables -->"
)

func fillPage(r *results.Results, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("%s: no marks for the tables", path)
	}
	var tables bytes.Buffer
	r.Markdown(&tables)
	return os.WriteFile(path, []byte(before+beginMark+"\n"+tables.String()+"\n"+endMark+after), 0o644)
}
