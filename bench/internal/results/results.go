// Package results is what a benchmark run leaves behind: numbers, and where and when they were measured.
package results

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// Results is one run.
type Results struct {
	Date     string    `json:"date"` // UTC, RFC 3339
	CPU      string    `json:"cpu"`
	Cores    int       `json:"cores"`
	Go       string    `json:"go"`
	Commit   string    `json:"commit"`
	Sections []Section `json:"sections"`
}

// Section is one table.
type Section struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Unit    string   `json:"unit"`
	Axis    string   `json:"axis"` // what the columns are
	Columns []string `json:"columns"`
	Rows    []Row    `json:"rows"`
}

// Row is one line of a table. A value of 0 was not measured.
type Row struct {
	Name   string    `json:"name"`
	About  string    `json:"about,omitempty"`
	Values []float64 `json:"values"`
}

// Here describes this machine and moment.
func Here() Results {
	return Results{
		Date:   time.Now().UTC().Format(time.RFC3339),
		CPU:    cpu(),
		Cores:  runtime.GOMAXPROCS(0),
		Go:     runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		Commit: commit(),
	}
}

func cpu() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return "unknown"
}

func commit() string {
	out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	c := strings.TrimSpace(string(out))
	if changed, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs").Output(); err == nil && len(changed) > 0 {
		c += " with changes"
	}
	return c
}

// Section returns the table with that ID.
func (r *Results) Section(id string) (Section, error) {
	for _, s := range r.Sections {
		if s.ID == id {
			return s, nil
		}
	}
	return Section{}, fmt.Errorf("results: no section %q", id)
}

// Read reads a file that Write has written.
func Read(path string) (*Results, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &Results{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Write writes the results to a file.
func (r *Results) Write(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// Markdown writes the run and its tables.
func (r *Results) Markdown(w io.Writer) {
	fmt.Fprintf(w, "%s, %s, %d cores, %s, commit %s.\n", r.Date, r.CPU, r.Cores, r.Go, r.Commit)
	for _, s := range r.Sections {
		s.markdown(w)
	}
}

func (s Section) markdown(w io.Writer) {
	wide := len(s.Axis)
	for _, row := range s.Rows {
		wide = max(wide, len(row.Name))
	}
	fmt.Fprintf(w, "\n### %s\n\n%s.\n\n| %-*s |", s.Title, s.Unit, wide, s.Axis)
	for _, c := range s.Columns {
		fmt.Fprintf(w, " %10s |", c)
	}
	fmt.Fprintf(w, "\n|%s|%s\n", strings.Repeat("-", wide+2), strings.Repeat("-----------:|", len(s.Columns)))
	for _, row := range s.Rows {
		fmt.Fprintf(w, "| %-*s |", wide, row.Name)
		for _, v := range row.Values {
			fmt.Fprintf(w, " %10s |", Number(v))
		}
		fmt.Fprintln(w)
	}
}

// Number formats a value as tables show it: three significant digits, or all before the point.
func Number(v float64) string {
	switch {
	case v == 0:
		return "–"
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.0f", v)
	}
}
